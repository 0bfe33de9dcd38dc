"""Where TensorRT keeps its built engines, and for which input sizes it builds them.

An engine is valid for one model, one ONNX Runtime, one TensorRT and one kind of GPU, so all four
are in the folder's name; a change of any of them builds afresh instead of loading a wrong engine.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from service.errors import DeviceUnavailable
from service.runtime.libraries import load_libraries

LIBRARIES = ("libnvinfer", "libnvinfer_plugin", "libnvonnxparser")  # in the order of their needs
MAIN_LIBRARIES = ("libnvinfer.so.10", "libnvinfer.so.11")  # ONNX Runtime 1.31 is linked with 10
WHEEL = "tensorrt_libs"
NVIDIA_DRIVER = Path("/proc/driver/nvidia/gpus")
NO_TF32 = ("NVIDIA_TF32_OVERRIDE", "0")  # ten bits of mantissa would miss the promised parity


@dataclass(frozen=True)
class ProfileShapes:
    """Input sizes that must not trigger a build inside a request: `row` is one row's shape."""

    input_name: str
    row: tuple[int, ...]
    largest_batch: int

    def provider_options(self) -> dict[str, str]:
        """The profile in the provider's notation, such as `image:1x1x64x64`."""
        batches = {"min": 1, "opt": self.largest_batch, "max": self.largest_batch}
        return {
            f"trt_profile_{kind}_shapes": f"{self.input_name}:{self._size(batch)}"
            for kind, batch in batches.items()
        }

    def _size(self, batch: int) -> str:
        return "x".join(str(length) for length in (batch, *self.row))


def default_cache_folder() -> Path:
    """Where this user's programs keep what they can make again."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "rfvae"


def prepare_tensorrt() -> None:
    """Load the libraries that came as a wheel, which no path of the loader leads to."""
    os.environ.setdefault(*NO_TF32)  # has no provider option; read when an engine is built
    load_libraries(WHEEL, ".", LIBRARIES)


def cache_options(root: Path, model: Path | bytes, *, ort_version: str) -> dict[str, str]:
    """Engines and timings of the tactics in a folder of their own, which is made.

    Raises:
        DeviceUnavailable: it cannot be written.
    """
    folder = engine_cache_folder(root, model, ort_version=ort_version)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DeviceUnavailable(
            f"TensorRT keeps its engines in `{root}`, which cannot be written: {error.strerror}; "
            "set RFVAE_CACHE_FOLDER to a folder that can"
        ) from None
    return {
        "trt_engine_cache_enable": "1",
        "trt_engine_cache_path": str(folder),
        "trt_timing_cache_enable": "1",
        "trt_timing_cache_path": str(folder),
    }


def engine_cache_folder(
    root: Path,
    model: Path | bytes,
    *,
    ort_version: str,
    tensorrt_version: str | None = None,
    gpu: str | None = None,
) -> Path:
    """`root`/KEY, where KEY tells apart everything that an engine depends on."""
    content = model if isinstance(model, bytes) else model.read_bytes()
    parts = (
        hashlib.sha256(content).hexdigest(),
        ort_version,
        tensorrt_version or loaded_tensorrt_version(),
        gpu or gpu_in_use(),
    )
    return root / hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32]


def loaded_tensorrt_version(load: Callable[[str], Any] = ctypes.CDLL) -> str:
    """Of the library itself, which may come from a wheel, a package or an image."""
    for name in MAIN_LIBRARIES:
        with suppress(OSError, AttributeError):
            return str(load(name).getInferLibVersion())
    return "unknown"


def gpu_in_use(driver: Path = NVIDIA_DRIVER) -> str:
    """The model of the GPUs as the driver lists them; of several kinds also which are visible."""
    lines = (
        line
        for information in sorted(driver.glob("*/information"))
        for line in information.read_text().splitlines()
    )
    models = [line.split(":", 1)[1].strip() for line in lines if line.startswith("Model:")]
    if len(set(models)) > 1:
        models.append(os.environ.get("CUDA_VISIBLE_DEVICES", "all"))
        return ", ".join(models)
    return models[0] if models else "unknown"
