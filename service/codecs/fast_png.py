"""The shortest way from the PNG that most requests carry to its pixels, and from pixels to PNG.

Reading is only for gray, 8 bit, not interlaced, already of the model's size and without chunks that
need thought; everything else takes the long way. kornia-rs (Rust's png) is used where it is
installed, else Pillow's inflater and unfilter without the rest of its PNG reader.
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

_Decoder = Callable[[bytes, tuple[int, int], str], Pixels]


def _find_decoder() -> _Decoder | None:
    """Optional, as it has no wheels for some platforms."""
    try:
        decoder: _Decoder = import_module("kornia_rs").io.decode_image_png_u8
    except (ImportError, AttributeError):
        return None
    return decoder


_decode_in_rust: Final = _find_decoder()
HEAD_BYTES: Final = len(PNG_SIGNATURE) + 25  # the IHDR chunk with length, type and CRC
COMPRESS_LEVEL: Final = 1
# Chunks that change nothing about gray pixels. Compressed text is left to Pillow, which bounds it.
HARMLESS: Final = frozenset((b"gAMA", b"sRGB", b"cHRM", b"pHYs", b"tIME", b"tEXt", b"sBIT"))


def decode_gray_png(data: bytes, *, height: int, width: int) -> Pixels | None:
    """uint8 (height, width), or None for whatever is not of the plain kind.

    A damaged file gives None too: the long way says what is wrong with it.
    """
    if not is_plain_png(data, height=height, width=width):
        return None
    chunks = _data_chunks(data)
    if not chunks:
        return None
    try:
        if _decode_in_rust is None:
            return _decode_with_pillow(data, chunks, height=height, width=width)
        return _decode_in_rust(data, (height, width), "mono").reshape(height, width)
    except Exception:  # the decoder has no class of its own for damaged files
        return None


def is_plain_png(data: bytes, *, height: int, width: int) -> bool:
    """Whether the head is that of a gray PNG of 8 bits, not interlaced, of this size."""
    return data.startswith(_plain_head(height, width))


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


def _data_chunks(data: bytes) -> list[slice] | None:
    """Where the contents of the IDAT chunks are; None if there is anything unusual."""
    found = []
    position, end = HEAD_BYTES, len(data)
    while position + 12 <= end:
        length, kind = struct.unpack_from(">I4s", data, position)
        stop = position + 8 + length
        if kind == b"IDAT":
            found.append(slice(position + 8, stop))
        elif kind == b"IEND":
            return found
        elif kind not in HARMLESS:
            return None
        position = stop + 4
    return None


def _decode_with_pillow(
    data: bytes, chunks: list[slice], *, height: int, width: int
) -> Pixels | None:
    for chunk in chunks:
        checksum = zlib.crc32(data[chunk], zlib.crc32(b"IDAT"))
        if data[chunk.stop : chunk.stop + 4] != struct.pack(">I", checksum):
            return None
    compressed = b"".join([data[chunk] for chunk in chunks])
    image = Image.frombytes("L", (width, height), compressed, "zip", "L")
    return np.frombuffer(image.tobytes(), np.uint8).reshape(height, width)
