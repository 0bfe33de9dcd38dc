"""The whole way from a run folder to a checked model folder."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from onnx_export.contents import OpenEngine, Plan, fill_folder, open_service_engine
from onnx_export.errors import ExportError
from onnx_export.facts import draft_manifest
from onnx_export.folder import check_target, next_version, publish
from onnx_export.inputs import CheckInputs, random_inputs, real_inputs
from onnx_export.trained_run import TrainedRun, doubts
from service.models.artifact import Manifest


@dataclass(frozen=True)
class Request:
    """What the user asked for; `name` None is the data's name, `version` None the next one."""

    repository: Path
    name: str | None = None
    version: int | None = None
    names: str = ""
    force: bool = False


@dataclass(frozen=True)
class Exported:
    """What was written, and what spoke against it."""

    folder: Path
    manifest: Manifest
    warnings: Sequence[str]


def export_run(
    run: TrainedRun, request: Request, *, open_engine: OpenEngine = open_service_engine
) -> Exported:
    """Write REPOSITORY/NAME/VERSION, or nothing.

    Args:
        run: from `read_run`.
        request: where to, and under which names.
        open_engine: how the written graphs are run for the comparison with torch.

    Raises:
        ExportError: the run is doubtful, the version exists, a name is wrong, or torch and
            ONNX Runtime differ.
    """
    name = request.name or str(run.info["data"]["name"])
    version = next_version(request.repository, name) if request.version is None else request.version
    target = check_target(request.repository, name=name, version=version)
    inputs, warnings = _inputs_and_warnings(run, force=request.force)
    draft = draft_manifest(
        run, name=name, version=version, names=request.names, images=inputs[-1].images
    )
    plan = Plan(run, draft, inputs, warnings, open_engine)
    written: list[Manifest] = []
    publish(target, lambda folder: written.append(fill_folder(plan, folder)))
    return Exported(target, written[0], warnings)


def _inputs_and_warnings(run: TrainedRun, *, force: bool) -> tuple[list[CheckInputs], list[str]]:
    """The best inputs come last: real images where they can be had."""
    warnings = doubts(run)
    inputs = [random_inputs(run.vae.image_shape, run.vae.latent_dim)]
    try:
        inputs.append(real_inputs(run.loaded))
    except ExportError as error:
        warnings.append(str(error))
    if warnings and not force:
        lines = "\n".join(f"- {warning}" for warning in warnings)
        raise ExportError(
            f"`{run.path}` should not be exported as it is:\n{lines}\n"
            "nothing was written; `--force` exports it all the same and the model card says so"
        )
    return inputs, warnings
