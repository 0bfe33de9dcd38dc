"""Fills the hidden folder: graphs, their comparison with torch, golden answers, card, manifest.

At the end the folder is read back as the service would.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from onnx_export.card import model_card
from onnx_export.facts import graph_metadata
from onnx_export.golden import golden_arrays, npz_bytes
from onnx_export.graphs import serialize, tidy
from onnx_export.inputs import CheckInputs, training_images
from onnx_export.loss import describe, measure_loss, measure_speed, require_small
from onnx_export.network_graphs import Graphs, arrange, trace_graphs
from onnx_export.quantize import Calibration, reduce_precision
from onnx_export.request import Reduction, Request
from onnx_export.row_units import in_row_units
from onnx_export.sign import sign_folder
from onnx_export.sweeps import Sweep, measure_sweeps
from onnx_export.trained_run import TrainedRun
from onnx_export.verify import (
    Deviation,
    Engine,
    Reference,
    measure,
    parity,
    require_finite,
    require_parity,
)
from service.models.artifact import (
    MANIFEST,
    FileEntry,
    Manifest,
    Parity,
    load_golden,
    load_manifest,
    sha256_of,
    verify_files,
)
from service.models.manifest import GOLDEN
from service.runtime.engine import Engine as ServiceEngine
from service.runtime.opening import EngineOptions

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

KEEPS_SAMPLES = (
    "`golden.npz`, the service's self-test, holds four of the training {}: keep this folder only "
    "where those may be seen."
)
PICTURES = {"traversals.png": "traversal.png", "relevance.png": "relevance.png"}
N_CALIBRATION = 256

OpenEngine = Callable[[Path, Manifest], Engine]


@dataclass(frozen=True)
class Plan:
    """Everything that decides the folder's contents; `draft` lacks files and parity."""

    run: TrainedRun
    request: Request
    draft: Manifest
    inputs: Sequence[CheckInputs]
    warnings: Sequence[str]
    notes: Sequence[str]
    open_engine: OpenEngine
    signing_key: Ed25519PrivateKey | None = None


@dataclass(frozen=True)
class Written:
    """The manifest as written, and what a reduced precision costs."""

    manifest: Manifest
    reduction: Reduction | None


def open_service_engine(folder: Path, manifest: Manifest) -> ServiceEngine:
    """The graphs as the service runs them: on the CPU, with one thread."""
    return ServiceEngine.load(folder, manifest, EngineOptions(device="cpu", lanes=1, threads=1))


def fill_folder(plan: Plan, folder: Path) -> Written:
    """Write every file, compare torch with ONNX Runtime on the way, and read it all back.

    Raises:
        ExportError: torch and ONNX Runtime differ, or a reduced precision costs too much.
        ArtifactError: the service would refuse the folder.
    """
    reference, vector = Reference(plan.run.vae, plan.run.vectors), plan.draft.vector
    graphs = arrange(trace_graphs(plan.run.vae), plan.request.arrangement)
    engine = _write_graphs(plan, graphs, folder)
    deviations = measure(reference, engine, plan.inputs, vector)
    require_parity(deviations)
    manifest = plan.draft.model_copy(update={"parity": parity(deviations)})
    reduction = None
    if plan.request.precision != "float32":
        reduction, reduced = _reduce(plan, graphs, engine, folder)
        manifest = plan.draft.model_copy(update={"parity": reduced})
    golden = golden_arrays(reference, plan.inputs[-1])
    (folder / GOLDEN).write_bytes(npz_bytes(golden))
    sweeps = measure_sweeps(reference, plan.inputs[-1].images, plan.draft.relevant)
    manifest = _describe(plan, manifest, reduction, sweeps=sweeps, folder=folder)
    if plan.signing_key is not None:
        sign_folder(folder, plan.signing_key)
    _read_back(folder)
    return Written(manifest, reduction)


def _write_graphs(plan: Plan, graphs: Graphs, folder: Path) -> Engine:
    if plan.run.vectors is not None:
        graphs = in_row_units(graphs, plan.run.vectors)
    for name, graph in graphs.items():
        facts = graph_metadata(plan.draft, precision=plan.request.precision)
        (folder / f"{name}.onnx").write_bytes(serialize(tidy(graph, facts)))
    return plan.open_engine(folder, plan.draft)


def _reduce(plan: Plan, graphs: Graphs, full: Engine, folder: Path) -> tuple[Reduction, Parity]:
    """Replace the float32 graphs by smaller ones and say what that costs and brings."""
    reference = Reference(plan.run.vae, plan.run.vectors)
    images = training_images(plan.run.loaded, 2 * N_CALIBRATION)
    calibration, fresh = images[::2], images[1::2]
    z = reference.encode(calibration)[0]
    inside = calibration  # what the graph sees before `in_row_units`
    if plan.run.vectors is not None:
        inside = plan.run.vectors.standardized(calibration.astype(np.float64)).numpy()
    name, _ = plan.draft.sample.tensor
    values: dict[str, Calibration] = {"encoder": {name: inside}, "decoder": {"z": z}}
    reduced = _write_graphs(
        plan,
        {
            part: reduce_precision(graph, plan.request.precision, values[part])
            for part, graph in graphs.items()
        },
        folder,
    )
    loss = measure_loss(
        reference, reduced, fresh, dimensions=plan.draft.relevant, is_image=plan.run.vectors is None
    )
    require_small(loss, plan.request.max_error_percent)
    speed = measure_speed(full, reduced, fresh)
    # Only on the best inputs, which the golden samples are of: on random ones errors are larger,
    # and a self-test that allowed for them would pass any picture.
    deviations = measure(reference, reduced, plan.inputs[-1:], plan.draft.vector)
    require_finite(deviations)
    return Reduction(loss, speed), parity(deviations, _twice_the_largest(deviations))


def _twice_the_largest(deviations: Sequence[Deviation]) -> float:
    """Other processors round differently: the self-test of a reduced graph allows for that."""
    return float(f"{2 * max(found.max_abs_error for found in deviations):.1g}")


def _describe(
    plan: Plan,
    manifest: Manifest,
    reduction: Reduction | None,
    *,
    sweeps: Sequence[Sweep],
    folder: Path,
) -> Manifest:
    pictures = _copy_pictures(plan.run.path, folder)
    notes = [*plan.notes]
    if reduction is not None:
        notes.append(f"Precision: {plan.request.precision}. {describe(reduction.loss)}")
    if manifest.training.data_source == "file" and plan.inputs[-1].kind == "real":
        notes.append(KEEPS_SAMPLES.format("images" if manifest.vector is None else "rows"))
    card = model_card(
        plan.run,
        manifest,
        pictures=pictures,
        warnings=plan.warnings,
        notes=notes,
        sweeps=sweeps,
    )
    (folder / "MODEL_CARD.md").write_text(card, encoding="utf-8")
    files = {path.name: _entry(path) for path in sorted(folder.iterdir())}
    complete = manifest.model_copy(update={"files": files})
    text = complete.model_dump_json(indent=2) + "\n"
    (folder / MANIFEST).write_text(text, encoding="utf-8")
    return complete


def _copy_pictures(run_dir: Path, folder: Path) -> list[str]:
    found = [(run_dir / "figures" / source, target) for source, target in PICTURES.items()]
    for source, target in found:
        if source.is_file():
            shutil.copyfile(source, folder / target)
    return [target for source, target in found if source.is_file()]


def _entry(path: Path) -> FileEntry:
    return FileEntry(sha256=sha256_of(path), size_bytes=path.stat().st_size)


def _read_back(folder: Path) -> None:
    """What the service does before it says that a model is ready."""
    manifest = load_manifest(folder)
    verify_files(folder, manifest)
    engine, golden = open_service_engine(folder, manifest), load_golden(folder)
    if np.isfinite(golden.mu).all() and np.isfinite(golden.decoded).all():
        # A broken run got this far by force; the service will refuse it.
        engine.self_test(golden)
    engine.close()
