"""Pictures in memory for the tests of the codecs."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from service.models.artifact import ImageSpec

Pixels = npt.NDArray[np.uint8]
PLENTY = 10**7


def spec(
    channels: int = 1, height: int = 16, width: int = 16, polarity: str = "light_on_dark"
) -> ImageSpec:
    return ImageSpec(channels=channels, height=height, width=width, polarity=polarity)  # type: ignore[arg-type]


def noise(*shape: int, seed: int = 0) -> Pixels:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def disc(height: int = 16, width: int = 16) -> Pixels:
    y, x = np.mgrid[:height, :width]
    inside = ((x - width / 2) / width) ** 2 + ((y - height / 2) / height) ** 2 < 0.1
    return (inside * 255).astype(np.uint8)


def saved(
    pixels: npt.NDArray[Any] | Image.Image, image_format: str = "PNG", **options: Any
) -> bytes:
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    buffer = io.BytesIO()
    image.save(buffer, image_format, **options)
    return buffer.getvalue()


def opened(data: bytes) -> Pixels:
    with Image.open(io.BytesIO(data)) as image:
        return np.array(image)


def png_chunk(kind: bytes, content: bytes) -> bytes:
    checksum = struct.pack(">I", zlib.crc32(kind + content))
    return struct.pack(">I", len(content)) + kind + content + checksum


def huge_png(width: int = 20_000, height: int = 20_000) -> bytes:
    """A valid head that announces a huge picture, and next to nothing behind it."""
    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    chunks = ((b"IHDR", head), (b"IDAT", zlib.compress(bytes(100))), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(kind, content) for kind, content in chunks)
