"""Reads format and size from an image's first bytes, before any decoder sees it.

Layouts: PNG (ISO 15948, 11.2.1), JPEG (ITU T.81, B.2), WebP (RFC 9649), BMP (BITMAPINFOHEADER).
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

from service.errors import MalformedInput, TooManyPixels

Format = Literal["PNG", "JPEG", "WebP", "BMP"]

PNG_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
# Start-of-frame markers: 0xC0-0xCF without DHT (C4), JPG (C8) and DAC (CC).
JPEG_FRAMES: Final = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
JPEG_BARE: Final = frozenset(range(0xD0, 0xDA)) | {0x01}  # markers without a length
TO_PNG: Final = "(save it as PNG)"
OTHERS: Final = (
    (b"GIF8", f"a GIF image {TO_PNG}"),
    (b"%PDF", "a PDF document"),
    (b"II*\0", f"a TIFF image {TO_PNG}"),
    (b"MM\0*", f"a TIFF image {TO_PNG}"),
    (b"PK\x03\x04", "a ZIP archive"),
    (b"\x1f\x8b", "gzip data"),
    (b"\x93NUMPY", "a NumPy array (send it as `application/x-npy`)"),
    (b"\0\0\0\x0cjP", f"a JPEG 2000 image {TO_PNG}"),
)
PHONES: Final = (b"ftypheic", b"ftypheix", b"ftypmif1", b"ftypavif")  # from the fifth byte on


@dataclass(frozen=True, slots=True)
class ImageHeader:
    """What the first bytes say."""

    format: Format
    width: int
    height: int

    @property
    def pixels(self) -> int:
        return self.width * self.height


def read_header(data: bytes, *, max_pixels: int) -> ImageHeader:
    """Format and size of an image, checked.

    Raises:
        MalformedInput: no PNG, JPEG, WebP or BMP; the text says what it looks like instead.
        TooManyPixels: more than `max_pixels`.
    """
    image_format = sniff(data)
    if image_format is None:
        raise MalformedInput(
            f"an image must be a PNG, JPEG, WebP or BMP file; got {describe(data)}"
        )
    try:
        width, height = _SIZES[image_format](data)
    except (struct.error, IndexError):
        raise damaged(image_format, len(data)) from None
    if width < 1 or height < 1:
        raise damaged(image_format, len(data))
    require_pixels(width, height, max_pixels=max_pixels)
    return ImageHeader(image_format, width, height)


def require_pixels(width: int, height: int, *, max_pixels: int) -> None:
    """See that an image is no larger than any may be, before it is decoded.

    Raises:
        TooManyPixels: it is.
    """
    if width * height > max_pixels:
        raise TooManyPixels(
            f"an image may have {max_pixels} pixels at most; got {width} x {height} = "
            f"{width * height}; send it smaller, the model does not see the difference"
        )


def sniff(data: bytes) -> Format | None:
    """The format that the first bytes announce, if it is one of those that are taken."""
    if data.startswith(PNG_SIGNATURE):
        return "PNG"
    if data.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return "WebP"
    return "BMP" if data.startswith(b"BM") and len(data) >= 26 else None


def describe(data: bytes) -> str:
    """What bytes that are no image look like, without quoting them."""
    if not data:
        return "nothing (an empty body)"
    for signature, name in OTHERS:
        if data.startswith(signature):
            return name
    if data[4:12] in PHONES:
        return f"a HEIF image {TO_PNG}"
    try:
        text = data[:512].decode("utf-8", "strict" if len(data) <= 512 else "ignore")
    except UnicodeDecodeError:
        return f"{len(data)} bytes of an unknown format"
    if not text.isprintable() and not text.replace("\n", "").replace("\t", "").isprintable():
        return f"{len(data)} bytes of an unknown format"
    start = text.lstrip()[:1]
    kind = {"{": "JSON text", "[": "JSON text", "<": "HTML or XML text"}.get(start, "text")
    return f"{len(data)} bytes of {kind}"


def damaged(image_format: str, size_bytes: int) -> MalformedInput:
    """The error for an image that starts well and cannot be decoded."""
    return MalformedInput(
        f"the {image_format} image is truncated or damaged; got {size_bytes} bytes; "
        "send the whole file"
    )


def _png_size(data: bytes) -> tuple[int, int]:
    width, height = struct.unpack_from(">II", data, 16)
    return (width, height) if data[12:16] == b"IHDR" else (0, 0)


def _jpeg_size(data: bytes) -> tuple[int, int]:
    position = 2
    while True:
        marker_start, marker = data[position], data[position + 1]
        if marker_start != 0xFF:
            return 0, 0
        if marker in JPEG_FRAMES:
            height, width = struct.unpack_from(">HH", data, position + 5)
            return width, height
        if marker == 0xFF:  # padding
            position += 1
        elif marker in JPEG_BARE:
            position += 2
        else:
            position += 2 + max(2, struct.unpack_from(">H", data, position + 2)[0])


def _webp_size(data: bytes) -> tuple[int, int]:
    kind = data[12:16]
    if kind == b"VP8X":
        wide, high = data[24:27], data[27:30]
        if len(high) < 3:
            return 0, 0
        return int.from_bytes(wide, "little") + 1, int.from_bytes(high, "little") + 1
    if kind == b"VP8L":
        (bits,) = struct.unpack_from("<I", data, 21)
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if kind == b"VP8 ":
        width, height = struct.unpack_from("<HH", data, 26)
        return width & 0x3FFF, height & 0x3FFF
    return 0, 0


def _bmp_size(data: bytes) -> tuple[int, int]:
    (header_bytes,) = struct.unpack_from("<I", data, 14)
    if header_bytes == 12:
        width, height = struct.unpack_from("<HH", data, 18)
        return width, height
    width, height = struct.unpack_from("<ii", data, 18)
    return width, abs(height)  # a negative height means rows from the top down


_SIZES: Final[dict[Format, Callable[[bytes], tuple[int, int]]]] = {
    "PNG": _png_size,
    "JPEG": _jpeg_size,
    "WebP": _webp_size,
    "BMP": _bmp_size,
}
