"""Where TensorRT keeps its built engines, and for which input sizes it builds them.

An engine is valid for one model, one ONNX Runtime, one TensorRT and one kind of GPU, so all four
are in the folder's name; a change of any of them builds afresh instead of loading a wrong engine.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

TENSORRT_PACKAGES = ("tensorrt", "tensorrt-cu13", "tensorrt-cu12")
NVIDIA_DRIVER = Path("/proc/driver/nvidia/gpus")


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
        tensorrt_version or _tensorrt_version(),
        gpu or _gpu_model(),
    )
    return root / hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32]


def _tensorrt_version() -> str:
    for package in TENSORRT_PACKAGES:
        try:
            return metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return "unknown"


def _gpu_model(driver: Path = NVIDIA_DRIVER) -> str:
    """Model names of all GPUs as the driver lists them, as devices are not told apart here."""
    lines = (
        line
        for information in sorted(driver.glob("*/information"))
        for line in information.read_text().splitlines()
    )
    models = [line.split(":", 1)[1].strip() for line in lines if line.startswith("Model:")]
    return ", ".join(models) or "unknown"
