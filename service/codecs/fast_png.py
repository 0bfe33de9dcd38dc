"""The shortest way from the PNG that most requests carry to its pixels, and from pixels to PNG.

Reading is only for gray, 8 bit, not interlaced, already of the model's size and without chunks that
need thought; everything else takes the long way. pyspng (libspng) is used where it is installed,
else Pillow's inflater and unfilter without the rest of its PNG reader.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from functools import lru_cache
from importlib import import_module
from typing import Final

import numpy as np
from PIL import Image

from service.codecs.header import PNG_SIGNATURE
from service.codecs.spec import Pixels

_Loader = Callable[[bytes], object]


def _find_spng() -> _Loader | None:
    """Optional, as it has no wheels for some platforms."""
    try:
        loader: _Loader = import_module("pyspng").load
    except (ImportError, AttributeError):
        return None
    return loader


_load_with_spng: Final = _find_spng()
HAS_PYSPNG: Final = _load_with_spng is not None
HEAD_BYTES: Final = len(PNG_SIGNATURE) + 25  # the IHDR chunk with length, type and CRC
COMPRESS_LEVEL: Final = 1
# Chunks that change nothing about gray pixels. Compressed text is left to Pillow, which bounds it.
HARMLESS: Final = frozenset((b"gAMA", b"sRGB", b"cHRM", b"pHYs", b"tIME", b"tEXt", b"sBIT"))


def decode_gray_png(data: bytes, *, height: int, width: int) -> Pixels | None:
    """uint8 (height, width), or None for whatever is not of the plain kind.

    A damaged file gives None too: the long way says what is wrong with it.
    """
    if data[:HEAD_BYTES] != _plain_head(height, width):
        return None
    compressed = _image_data(data)
    if compressed is None:
        return None
    try:
        if _load_with_spng is not None:
            pixels = np.asarray(_load_with_spng(data))
        else:
            image = Image.frombytes("L", (width, height), compressed, "zip", "L")
            pixels = np.frombuffer(image.tobytes(), np.uint8)
        return pixels.reshape(height, width) if pixels.dtype == np.uint8 else None
    except (ValueError, RuntimeError, OSError):
        return None


def encode_png(pixels: Pixels) -> bytes:
    """uint8 (height, width) or (height, width, 3) to a PNG file.

    Rows are left unfiltered and compressed lightly: a third of Pillow's time at about its size.
    """
    height, width = pixels.shape[:2]
    rows = np.zeros((height, 1 + pixels[0].size), np.uint8)  # each starts with filter type 0
    rows[:, 1:] = pixels.reshape(height, -1)
    color_type = 0 if pixels.ndim == 2 else 2
    head = struct.pack(">IIBBBBB", width, height, 8, color_type, 0, 0, 0)
    chunks = (
        (b"IHDR", head),
        (b"IDAT", zlib.compress(rows.tobytes(), COMPRESS_LEVEL)),
        (b"IEND", b""),
    )
    return PNG_SIGNATURE + b"".join(_chunk(kind, content) for kind, content in chunks)


@lru_cache(maxsize=64)
def _plain_head(height: int, width: int) -> bytes:
    """Signature and IHDR: 8 bit, gray, deflate, the five filters, not interlaced."""
    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return PNG_SIGNATURE + _chunk(b"IHDR", head)


def _chunk(kind: bytes, content: bytes) -> bytes:
    checksum = zlib.crc32(content, zlib.crc32(kind))
    return struct.pack(">I4s", len(content), kind) + content + struct.pack(">I", checksum)


def _image_data(data: bytes) -> bytes | None:
    """What lies in the IDAT chunks, checksums verified; None if there is anything unusual."""
    parts = []
    position, end = HEAD_BYTES, len(data)
    while position + 12 <= end:
        length, kind = struct.unpack_from(">I4s", data, position)
        stop = position + 8 + length
        if kind == b"IDAT":
            parts.append(data[position + 8 : stop])
            if data[stop : stop + 4] != struct.pack(">I", zlib.crc32(data[position + 4 : stop])):
                return None
        elif kind == b"IEND":
            return parts[0] if len(parts) == 1 else b"".join(parts) or None
        elif kind not in HARMLESS:
            return None
        position = stop + 4
    return None
