"""Opens ONNX Runtime sessions on exactly the device that was asked for.

ONNX Runtime falls back to the CPU with no more than a log line (onnxruntime issues 21424, 23372),
so the providers in use are compared with those asked for and anything else is refused. Its Python
layer also goes on with other providers after an error, at the start and inside a run: switched off.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import onnxruntime as ort

from service.errors import ArtifactError, DeviceUnavailable, one_line
from service.runtime.arena import share_arena
from service.runtime.assignment import RECORD, require_nodes_on
from service.runtime.libraries import CUDA_LIBRARIES, CUDA_WHEELS, load_libraries
from service.runtime.tensorrt import ProfileShapes, cache_options, prepare_tensorrt
from service.runtime.threads import Device

CPU, CUDA, TENSORRT = (
    "CPUExecutionProvider",
    "CUDAExecutionProvider",
    "TensorrtExecutionProvider",
)
_PROVIDERS: Final[dict[Device, str]] = {"cpu": CPU, "cuda": CUDA, "tensorrt": TENSORRT}
NVIDIA_CONTROL = Path("/dev/nvidiactl")
ERRORS_ONLY = 3
BAD_GRAPH = {"InvalidGraph", "InvalidProtobuf", "NoSuchFile"}  # errors that no device cures


@dataclass(frozen=True)
class SessionOptions:
    """How to open a session.

    Args:
        threads: inside one run. With 1 the calling thread does the work and there is no pool.
        cache_folder: where TensorRT keeps built engines; None builds them at each start.
        profile: smallest, usual and largest input of each graph, for TensorRT.
        cuda_graph: whether the session captures its first run and replays it from then on; its
            buffers must stay where they are, and one thread may run it.
    """

    device: Device = "cpu"
    threads: int = 1
    cache_folder: Path | None = None
    profile: ProfileShapes | None = None
    cuda_graph: bool = False


def resolve_device(device: Device) -> Device:
    """Turn "auto" into "cuda" where this build and this machine have it, else into "cpu"."""
    if device != "auto":
        return device
    return "cuda" if CUDA in ort.get_available_providers() and NVIDIA_CONTROL.exists() else "cpu"


def open_session(
    model: Path | bytes, *, device: Device = "cpu", threads: int = 1, **more: Any
) -> ort.InferenceSession:
    """Open a graph on `device`; see `SessionOptions` for the other arguments.

    Raises:
        DeviceUnavailable: the device is not in this build or did not start.
        ArtifactError: the graph cannot be read.
    """
    options = SessionOptions(device=resolve_device(device), threads=threads, **more)
    complaint = _load_libraries(options.device)
    providers = _providers(model, options)
    source = model if isinstance(model, bytes) else str(model)
    try:
        session = ort.InferenceSession(
            source, _ort_options(options), providers=providers, enable_fallback=0
        )
    # ONNX Runtime's errors share no base class but Exception.
    except Exception as error:
        raise _explain(model, options, error) from error
    wanted = _name(providers[0])
    _require_provider(session.get_providers(), wanted=wanted, complaint=complaint)
    if options.device != "cpu":
        require_nodes_on(session, wanted, name=_shown(model))
    return session


def _ort_options(options: SessionOptions) -> ort.SessionOptions:
    chosen = ort.SessionOptions()
    chosen.intra_op_num_threads = options.threads
    chosen.inter_op_num_threads = 1
    chosen.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    chosen.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    chosen.log_severity_level = ERRORS_ONLY
    # A memory plan for each of 32 batch sizes costs 24 MB with the bundled model, and no run is
    # slower without; a GPU has a few fixed sizes. A capture must find no allocation to record.
    chosen.enable_mem_pattern = options.device != "cpu" and not options.cuda_graph
    for pool in ("intra", "inter"):  # idle threads that spin burn a core to start sooner
        chosen.add_session_config_entry(f"session.{pool}_op.allow_spinning", "0")
    chosen.add_session_config_entry(RECORD, "0" if options.device == "cpu" else "1")
    if options.device == "cpu":
        share_arena(chosen)
    return chosen


def _load_libraries(device: Device) -> str:
    """Load what came as wheels; returns the first complaint, which ONNX Runtime only prints."""
    if device == "cpu":
        return ""
    require_built_in(device)
    load_libraries(*CUDA_WHEELS, CUDA_LIBRARIES)
    with redirect_stdout(io.StringIO()) as printed:
        ort.preload_dlls()  # finds them loaded, or elsewhere, or says what is missing
    if device == "tensorrt":
        prepare_tensorrt()
    return next(iter(printed.getvalue().splitlines()), "")


def _providers(model: Path | bytes, options: SessionOptions) -> list[Any]:
    """What to ask ONNX Runtime for, the asked device first."""
    if options.device == "cpu":
        return [CPU]
    cuda = (CUDA, _cuda_options(options))
    if options.device == "cuda":
        return [cuda, CPU]
    return [(TENSORRT, _tensorrt_options(model, options)), cuda, CPU]


def _cuda_options(options: SessionOptions) -> dict[str, str]:
    """HEURISTIC: the default search measures again for each new shape (onnxruntime issue 6978)."""
    return {
        "cudnn_conv_algo_search": "HEURISTIC",
        "cudnn_conv_use_max_workspace": "1",
        "arena_extend_strategy": "kSameAsRequested",
        "do_copy_in_default_stream": "1",
        "use_tf32": "0",  # ten bits of mantissa would miss the parity that the manifest promises
        "enable_cuda_graph": "1" if options.cuda_graph else "0",
    }


def _tensorrt_options(model: Path | bytes, options: SessionOptions) -> dict[str, str]:
    chosen = {} if options.profile is None else options.profile.provider_options()
    if options.cache_folder is not None:
        chosen |= cache_options(options.cache_folder, model, ort_version=ort.__version__)
    return chosen


def require_built_in(device: Device) -> None:
    """See that this build of ONNX Runtime knows the device; the first session shows if it is there.

    Raises:
        DeviceUnavailable: it does not.
    """
    provider, available = _PROVIDERS[device], ort.get_available_providers()
    if provider not in available:
        raise DeviceUnavailable(
            f"`device` is `{device}`, which needs {provider}; this ONNX Runtime build has "
            f"{', '.join(available)}; install the extra `gpu` or set `device` to `cpu`"
        )


def _require_provider(active: Sequence[str], *, wanted: str, complaint: str) -> None:
    if active[0] != wanted:
        reason = f" ({complaint})" if complaint else ""
        raise DeviceUnavailable(
            f"the session must run on {wanted}; active are {', '.join(active)}{reason}; "
            "check the driver and the CUDA libraries, or set `device` to `cpu`"
        )


def _explain(
    model: Path | bytes, options: SessionOptions, error: Exception
) -> ArtifactError | DeviceUnavailable:
    name = _shown(model)
    reason = one_line(error)
    if options.device != "cpu" and type(error).__name__ not in BAD_GRAPH:
        return DeviceUnavailable(
            f"`device` is `{options.device}`, which did not start for {name}: {reason}; "
            "check the driver and the CUDA libraries, or set `device` to `cpu`"
        )
    return ArtifactError(f"{name} cannot be opened by ONNX Runtime {ort.__version__}: {reason}")


def _shown(model: Path | bytes) -> str:
    return "the graph" if isinstance(model, bytes) else f"`{model}`"


def _name(provider: str | tuple[str, dict[str, str]]) -> str:
    return provider if isinstance(provider, str) else provider[0]
