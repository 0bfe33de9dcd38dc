"""From a model folder to runs of its two graphs, in the way that suits the device."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from service.errors import ArtifactError, DeviceUnavailable
from service.models.artifact import Manifest
from service.models.onnx_file import external_files
from service.runtime.bound import BoundGraph
from service.runtime.cuda_graphs import CapturedGraph
from service.runtime.graph_spec import GraphSpec, graph_specs
from service.runtime.graphs import Run, plain_run, run_in_pieces, run_in_sizes
from service.runtime.sessions import open_session
from service.runtime.tensorrt import ProfileShapes
from service.runtime.threads import Device, LanePlan, cpu_budget, plan_lanes

BATCH_SIZES = (1, 2, 4, 8, 16, 32, 64)
GPU_MEMORY = "cuda"  # of CUDA and TensorRT alike
# 16 images of 64 pixels a side. With more the layers' outputs outgrow a core's cache, fewer cost
# calls: so many are within 3 % of the best number from 28 to 128 pixels a side, for both graphs.
PIXELS_AT_ONCE = 16 * 64 * 64


@dataclass(frozen=True)
class EngineOptions:
    """How to open a model's graphs.

    Args:
        device: a device that is asked for and not active is an error.
        lanes: batches at a time; `threads`: inside each. 0 chooses from the CPU budget.
        batch_sizes: the only sizes that a GPU sees, rising; a CPU takes any.
        cache_folder: for TensorRT's engines; None builds them at each start.
        cuda_graphs: whether batches on CUDA are replayed from captured graphs.
    """

    device: Device = "auto"
    lanes: int = 0
    threads: int = 0
    batch_sizes: tuple[int, ...] = BATCH_SIZES
    cache_folder: Path | None = None
    cuda_graphs: bool = False


@dataclass(frozen=True)
class OpenedGraph:
    """One graph that runs on `providers`, the first of them above all."""

    run: Run
    providers: tuple[str, ...]
    captured: CapturedGraph | None = None


@dataclass(frozen=True)
class OpenedModel:
    """Both graphs; `batch_sizes` is empty where any size is as good.

    Larger batches than `most_at_once`, if it is not None, are run in pieces.
    """

    encoder: OpenedGraph
    decoder: OpenedGraph
    plan: LanePlan
    batch_sizes: tuple[int, ...]
    most_at_once: int | None = None


def open_model(folder: Path, manifest: Manifest, options: EngineOptions) -> OpenedModel:
    """Open both graphs on `options.device`, with "auto" already resolved.

    Raises:
        ArtifactError: a graph cannot be opened or does not fit the manifest.
        DeviceUnavailable: the device is not in use, or cannot capture the graphs.
    """
    device = options.device
    _require_cuda_for_graphs(options)
    plan = plan_lanes(cpu_budget(), device=device, lanes=options.lanes, threads=options.threads)
    encoder, decoder = [
        _open_graph(folder / spec.file_name, manifest, spec, plan=plan, options=options)
        for spec in graph_specs(manifest)
    ]
    if device == "cpu":
        return OpenedModel(encoder, decoder, plan, (), _most_on_cpu(manifest))
    return OpenedModel(encoder, decoder, plan, options.batch_sizes)


def _open_graph(
    path: Path, manifest: Manifest, spec: GraphSpec, *, plan: LanePlan, options: EngineOptions
) -> OpenedGraph:
    _require_listed(path, manifest)
    open_one = partial(
        open_session,
        path,
        device=options.device,
        threads=plan.threads,
        cache_folder=options.cache_folder,
        profile=ProfileShapes(spec.input.name, spec.input.row, options.batch_sizes[-1]),
    )
    session = open_one()
    spec.check(path, session)
    if options.device == "cpu":
        run, most = plain_run(session, spec), _most_on_cpu(manifest)
        in_pieces = run if most is None else run_in_pieces(run, most)
        return OpenedGraph(in_pieces, tuple(session.get_providers()))
    again = partial(open_one, cuda_graph=True) if options.cuda_graphs else None
    return _on_gpu(session, spec, options.batch_sizes, again)


def _most_on_cpu(manifest: Manifest) -> int | None:
    """Images a few at a time, rows of numbers all at once."""
    image = manifest.image
    return None if image is None else max(1, PIXELS_AT_ONCE // (image.height * image.width))


def _on_gpu(
    session: Any, spec: GraphSpec, sizes: tuple[int, ...], again: Callable[[], Any] | None
) -> OpenedGraph:
    """Buffers on the device in fixed sizes; `again` opens sessions that capture."""
    bound = BoundGraph(session, spec, memory=GPU_MEMORY)
    providers = tuple(session.get_providers())
    if again is None:
        return OpenedGraph(run_in_sizes(bound.run, sizes), providers)
    captured = CapturedGraph.capture(bound.run, again, spec, sizes=sizes, memory=GPU_MEMORY)
    return OpenedGraph(run_in_sizes(captured.run, sizes), providers, captured)


def _require_cuda_for_graphs(options: EngineOptions) -> None:
    if options.cuda_graphs and options.device != "cuda":
        raise DeviceUnavailable(
            f"`cuda_graphs` needs `device` to be `cuda`; got `{options.device}`; "
            "unset RFVAE_CUDA_GRAPHS or set RFVAE_DEVICE=cuda"
        )


def _require_listed(path: Path, manifest: Manifest) -> None:
    """Weights outside the graph must be among the verified files, so never outside the folder."""
    unlisted = sorted(external_files(path) - set(manifest.files))
    if unlisted:
        raise ArtifactError(
            f"`{path}` keeps weights in files that the manifest does not list: {unlisted}; "
            "export the model again with its weights inside the graph"
        )
