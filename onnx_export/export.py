"""The whole way from a run folder to a checked model folder."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from pydantic import ValidationError

from onnx_export.contents import OpenEngine, Plan, Written, fill_folder, open_service_engine
from onnx_export.errors import ExportError
from onnx_export.facts import draft_manifest, name_dimensions
from onnx_export.folder import check_target, next_version, published
from onnx_export.inputs import CheckInputs, random_inputs, real_inputs
from onnx_export.prune import prune_run, pruned_before
from onnx_export.request import Exported, Request
from onnx_export.sign import load_private_key
from onnx_export.trained_run import TrainedRun, doubts
from onnx_export.triton import triton_folders, write_triton


def export_run(
    run: TrainedRun, request: Request, *, open_engine: OpenEngine = open_service_engine
) -> Exported:
    """Write REPOSITORY/NAME/VERSION and what is asked for Triton, or nothing.

    Args:
        run: from `read_run`.
        request: where to, under which names, and in which form.
        open_engine: how the written graphs are run for the comparison with torch.

    Raises:
        ExportError: the run is doubtful, the version exists, a name is wrong, or torch and
            ONNX Runtime differ, or a disk is full.
    """
    with _told(run):
        target = _target(run, request)
        plan = _plan(run, request, version=int(target.name), open_engine=open_engine)
    written: list[Written] = []
    with published(target, lambda folder: written.append(fill_folder(plan, folder))):
        if request.triton is not None:
            write_triton(target, plan.draft, repository=request.triton, target=request.arrangement)
    return Exported(target, written[0].manifest, plan.warnings, written[0].reduction)


def _target(run: TrainedRun, request: Request) -> Path:
    name = _name(run, request)
    version = request.version
    if version is None:
        version = next_version(request.repository, name)
    if request.triton is not None and request.triton.resolve() == request.repository.resolve():
        raise ExportError(
            "the service reads every folder of a repository as a model of its own: "
            f"`--triton` must not be `--to`, `{request.repository}`; choose another folder"
        )
    return check_target(request.repository, name=name, version=version)


def _name(run: TrainedRun, request: Request) -> str:
    is_pruned = run.pruned_from is not None
    return request.model_name(run.info["data"]["name"], is_pruned=is_pruned)


@contextmanager
def _told(run: TrainedRun) -> Iterator[None]:
    """Says in one line what the files of the run do not say, or garble."""
    try:
        yield
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise _garbled(run, f"`{where}`: {first['msg']}") from error
    except KeyError as error:
        raise _garbled(run, f"no `{error.args[0]}`") from error
    except (TypeError, IndexError) as error:
        raise _garbled(run, f"values of another kind ({error})") from error


def _garbled(run: TrainedRun, found: str) -> ExportError:
    return ExportError(
        f"`run.json`, `report.json` and `evaluation.json` of `{run.path}` must be whole: got "
        f"{found}; run `rfvae-train report` and `rfvae-train evaluate` again"
    )


def _plan(run: TrainedRun, request: Request, *, version: int, open_engine: OpenEngine) -> Plan:
    """Find whatever speaks against the export before anything is written."""
    _require_channels(run.vae.image_shape)
    key = None if request.signing_key is None else load_private_key(request.signing_key)
    run = name_dimensions(run, request.names)
    inputs, warnings = _inputs_and_warnings(run, force=request.force)
    name = _name(run, request)
    notes = [pruned_before(run.pruned_from)] if run.pruned_from is not None else []
    if request.pruned:
        run, note = prune_run(run)
        notes.append(note)
        inputs[0] = random_inputs(run.vae.image_shape, run.vae.latent_dim, run.vectors)
    images = inputs[-1].images if inputs[-1].kind == "real" else None
    draft = draft_manifest(run, name=name, version=version, images=images)
    if request.triton is not None:
        triton_folders(draft, request.triton)
    return Plan(run, request, draft, inputs, warnings, notes, open_engine, key)


def _require_channels(shape: Sequence[int]) -> None:
    if len(shape) == 3 and shape[0] not in (1, 3):
        raise ExportError(
            "the service reads images of 1 or 3 channels, and rows of numbers: this model's "
            f"samples have the shape {tuple(shape)}; use it from Python with "
            "`training.checkpoint.load_model`"
        )


def _inputs_and_warnings(run: TrainedRun, *, force: bool) -> tuple[list[CheckInputs], list[str]]:
    """The best inputs come last: real images where they can be had."""
    warnings = doubts(run)
    inputs = [random_inputs(run.vae.image_shape, run.vae.latent_dim, run.vectors)]
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
