"""Fills the hidden folder: graphs, their comparison with torch, golden answers, card, manifest.

At the end the folder is read back as the service would.
"""

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from onnx import ModelProto

from onnx_export.card import model_card
from onnx_export.facts import graph_metadata
from onnx_export.golden import golden_arrays, npz_bytes
from onnx_export.graphs import export_graph, serialize, tidy
from onnx_export.inputs import CheckInputs
from onnx_export.phases import split_transposed_convolutions
from onnx_export.rewrite import fold_input_scale
from onnx_export.trained_run import TrainedRun
from onnx_export.verify import Engine, Reference, measure, parity, require_parity
from onnx_export.wrappers import DecoderGraph, EncoderGraph
from service.models.artifact import (
    FileEntry,
    Manifest,
    load_golden,
    load_manifest,
    sha256_of,
    verify_files,
)
from service.runtime.engine import Engine as ServiceEngine
from training.networks import VAE

MANIFEST = "manifest.json"
PICTURES = {"traversals.png": "traversal.png", "relevance.png": "relevance.png"}

OpenEngine = Callable[[Path, Manifest], Engine]


@dataclass(frozen=True)
class Plan:
    """Everything that decides the folder's contents; `draft` lacks files and parity."""

    run: TrainedRun
    draft: Manifest
    inputs: Sequence[CheckInputs]
    warnings: Sequence[str]
    open_engine: OpenEngine


def open_service_engine(folder: Path, manifest: Manifest) -> ServiceEngine:
    """The graphs as the service runs them: on the CPU, with one thread."""
    return ServiceEngine.load(folder, manifest, device="cpu", lanes=1, threads=1)


def fill_folder(plan: Plan, folder: Path) -> Manifest:
    """Write every file, compare torch with ONNX Runtime on the way, and read it all back.

    Raises:
        ExportError: torch and ONNX Runtime differ.
        ArtifactError: the service would refuse the folder.
    """
    reference = Reference(plan.run.vae)
    for name, model in build_graphs(plan.run.vae).items():
        finished = tidy(model, graph_metadata(plan.draft))
        (folder / f"{name}.onnx").write_bytes(serialize(finished))
    deviations = measure(reference, plan.open_engine(folder, plan.draft), plan.inputs)
    require_parity(deviations)
    golden = golden_arrays(reference, plan.inputs[-1])
    (folder / "golden.npz").write_bytes(npz_bytes(golden))
    manifest = plan.draft.model_copy(update={"parity": parity(deviations)})
    manifest = _describe(plan, manifest, folder)
    _read_back(folder)
    return manifest


def build_graphs(vae: VAE) -> dict[str, ModelProto]:
    """The encoder and the decoder, rewritten to do the least work."""
    image = torch.zeros(2, *vae.image_shape, dtype=torch.uint8)
    z = torch.zeros(2, vae.latent_dim)
    encoder = export_graph(EncoderGraph(vae), image, inputs=["image"], outputs=["mu", "logvar"])
    decoder = export_graph(DecoderGraph(vae), z, inputs=["z"], outputs=["image"])
    return {
        "encoder": fold_input_scale(encoder),
        "decoder": split_transposed_convolutions(decoder),
    }


def _describe(plan: Plan, manifest: Manifest, folder: Path) -> Manifest:
    pictures = _copy_pictures(plan.run.path, folder)
    card = model_card(plan.run, manifest, pictures=pictures, warnings=plan.warnings)
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
        engine.self_test(golden)  # a broken run got this far by force; the service will refuse it
    engine.close()
