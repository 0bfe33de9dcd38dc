"""The .npy format, read without pickle and without trusting its header.

Layout: numpy.lib.format, versions 1.0 to 3.0. The header's claim is compared with the bytes that
are there before any array is made.
"""

from __future__ import annotations

import ast
import math
import struct
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from PIL import Image

from service.codecs.header import describe, require_pixels
from service.codecs.images import fit, to_pixels
from service.codecs.spec import DecodedImages, ImageSpec, Pixels
from service.errors import InvalidValue, MalformedInput, TooManyRows

MAGIC: Final = b"\x93NUMPY"
MAX_HEADER_BYTES: Final = 4096  # numpy writes 118 for any plain array
MAX_DIMS: Final = 8
CHANNELS: Final = frozenset((1, 3, 4))  # gray, color, and color with transparency
_UNREADABLE: Final = (
    LookupError,
    MemoryError,
    RecursionError,
    SyntaxError,
    TypeError,
    ValueError,
    struct.error,
)
IMAGE_TYPES: Final = {"|u1": "uint8", "<f4": "float32", ">f4": "float32"}
IMAGES_WANTED: Final = "uint8 in 0 … 255, or float32 in [0, 1]"
LATENT_TYPES: Final = {"<f4": "float32", ">f4": "float32", "<f8": "float64", ">f8": "float64"}


@dataclass(frozen=True, slots=True)
class NpyHeader:
    """`descr` in numpy's notation, such as `<f4`; the data starts at `offset`."""

    descr: str
    fortran_order: bool
    shape: tuple[int, ...]
    offset: int


def read_images(data: bytes, spec: ImageSpec, *, max_rows: int, max_pixels: int) -> DecodedImages:
    """uint8, or float32 in [0, 1], of shape (n, height, width[, channels]).

    Raises:
        MalformedInput: not an npy, a pickled one, or one whose data does not fit its header.
        InvalidValue: another type or shape, or numbers that are NaN or outside [0, 1].
        TooManyRows, TooManyPixels: more than the limits.
    """
    header = read_npy_header(data)
    _check_type(header, IMAGE_TYPES, IMAGES_WANTED)
    _check_image_shape(header.shape, max_rows=max_rows, max_pixels=max_pixels)
    array = _array(data, header)
    pixels = array if array.dtype == np.uint8 else _pixels_of_floats(array)
    if pixels.ndim == 3:
        pixels = pixels[..., None]  # (n, height, width, channels)
    resized = pixels.shape[1:3] != (spec.height, spec.width)
    if resized or pixels.shape[3] != spec.channels:
        return DecodedImages(_fit_all(pixels, spec), resized)
    return DecodedImages(np.ascontiguousarray(pixels.transpose(0, 3, 1, 2)), resized)


def read_latents(data: bytes, *, max_rows: int) -> npt.NDArray[np.float32]:
    """float32 or float64 (n, k) as float32; finite numbers only.

    Raises:
        MalformedInput, InvalidValue, TooManyRows: as `read_images`.
    """
    latents = read_floats(data, what="latents", max_rows=max_rows)
    with np.errstate(over="ignore", invalid="ignore"):  # infinity and NaN are refused below
        rows = np.ascontiguousarray(latents, dtype=np.float32)
    if not np.isfinite(rows).all():
        raise InvalidValue("latents must be finite float32 numbers; got NaN or infinity")
    return rows


def read_floats(data: bytes, *, what: str, max_rows: int) -> npt.NDArray[Any]:
    """float32 or float64 (n, k) as it is; `what` names it in errors.

    Raises:
        MalformedInput, InvalidValue, TooManyRows: as `read_images`.
    """
    header = read_npy_header(data)
    _check_type(header, LATENT_TYPES, "float32 or float64")
    if len(header.shape) != 2 or 0 in header.shape:
        kind = "dims" if what == "latents" else "columns"
        raise InvalidValue(f"{what} must have the shape (n, {kind}); got {header.shape}")
    _check_rows(header.shape[0], max_rows)
    return _array(data, header)


def read_npy(data: bytes, types: dict[str, str]) -> npt.NDArray[Any]:
    """A whole npy file as an array of any shape.

    Args:
        types: What its type may be, from numpy's notation to the name that people use.

    Raises:
        MalformedInput, InvalidValue: it is none, is damaged, or of another type.
    """
    header = read_npy_header(data)
    _check_type(header, types, " or ".join(types.values()))
    return _array(data, header)


def write_npy(array: npt.NDArray[Any]) -> bytes:
    """`array` as an npy file of version 1.0, in C order."""
    descr = np.lib.format.dtype_to_descr(array.dtype)
    text = f"{{'descr': {descr!r}, 'fortran_order': False, 'shape': {array.shape}, }}"
    padding = -(len(MAGIC) + 4 + len(text) + 1) % 64
    content = f"{text}{' ' * padding}\n".encode("latin-1")
    head = MAGIC + b"\x01\x00" + struct.pack("<H", len(content)) + content
    return head + array.tobytes()


def read_npy_header(data: bytes) -> NpyHeader:
    """What an npy file says of itself; nothing is allocated for its data.

    Raises:
        MalformedInput: it is no npy file, or its header is damaged.
    """
    if not data.startswith(MAGIC):
        raise MalformedInput(
            f"the body must be a NumPy array as `numpy.save` writes it; got {describe(data)}"
        )
    try:
        text, offset = _header_text(data)
        descr, fortran_order, shape = _parse(text)
    except _UNREADABLE:
        raise _damaged("its header cannot be read") from None
    return NpyHeader(descr, fortran_order, shape, offset)


@lru_cache(maxsize=256)  # a client sends the same header again and again
def _parse(text: str) -> tuple[str, bool, tuple[int, ...]]:
    fields = ast.literal_eval(text)
    descr, fortran_order, shape = (fields[key] for key in ("descr", "fortran_order", "shape"))
    if not (_is_shape(shape) and isinstance(fortran_order, bool) and isinstance(descr, str | list)):
        raise ValueError(text)
    return descr if isinstance(descr, str) else "records", fortran_order, shape


def _header_text(data: bytes) -> tuple[str, int]:
    version = data[6]
    size_format, encoding = ("<H", "latin-1") if version == 1 else ("<I", "utf-8")
    if version not in {1, 2, 3}:
        raise ValueError(version)
    (length,) = struct.unpack_from(size_format, data, 8)
    start = 8 + struct.calcsize(size_format)
    if length > MAX_HEADER_BYTES or start + length > len(data):
        raise ValueError(length)
    return data[start : start + length].decode(encoding), start + length


def _is_shape(shape: object) -> bool:
    return (
        isinstance(shape, tuple)
        and len(shape) <= MAX_DIMS
        and all(type(length) is int and length >= 0 for length in shape)
    )


def _check_type(header: NpyHeader, types: dict[str, str], wanted: str) -> None:
    if header.descr in types:
        return
    if header.descr.lstrip("|<>=") == "O":
        raise MalformedInput(
            f"the array must be {wanted}; got Python objects (dtype `object`), "
            "which are never unpickled; convert with `.astype`"
        )
    cure = "scale the values, then convert" if wanted == IMAGES_WANTED else "convert"
    raise InvalidValue(
        f"the array must be {wanted}; got dtype `{header.descr[:20]}`; {cure} with `.astype`"
    )


def _check_image_shape(shape: tuple[int, ...], *, max_rows: int, max_pixels: int) -> None:
    # (height, width, 1, 3 or 4) is one image, and not `height` images of so few pixels a row
    single = len(shape) == 2 or (len(shape) == 3 and shape[2] in CHANNELS)
    fits = len(shape) == 3 or (len(shape) == 4 and shape[3] in CHANNELS)
    if single or not fits or 0 in shape:
        cure = "add a first axis to a single image" if single else "move axes, channels last"
        raise InvalidValue(
            "images must have the shape (n, height, width) or (n, height, width, 1, 3 or 4); "
            f"got {shape}; {cure}"
        )
    _check_rows(shape[0], max_rows)
    require_pixels(shape[2], shape[1], max_pixels=max_pixels)


def _check_rows(rows: int, max_rows: int) -> None:
    if rows > max_rows:
        raise TooManyRows(
            f"a request may have {max_rows} rows at most; got {rows}; send several requests"
        )


def _array(data: bytes, header: NpyHeader) -> npt.NDArray[Any]:
    """A view of the data in the header's shape, once its size is known to be right."""
    dtype = np.dtype(header.descr)
    expected = math.prod(header.shape) * dtype.itemsize
    if len(data) - header.offset != expected:
        raise _damaged(
            f"shape {header.shape} of {dtype} needs {expected} bytes of data, "
            f"got {len(data) - header.offset}"
        )
    flat = np.frombuffer(data, dtype, offset=header.offset)
    return flat.reshape(header.shape, order="F" if header.fortran_order else "C")


def _pixels_of_floats(array: npt.NDArray[np.float32]) -> Pixels:
    low, high = array.min(), array.max()
    if not (low >= 0 and high <= 1):  # also when they are NaN
        raise InvalidValue(
            f"float32 images must lie in [0, 1] and not be NaN; got {low:.4g} to {high:.4g}; "
            "send 0 to 255 as uint8"
        )
    return to_pixels(array.astype(np.float32))


def _fit_all(pixels: Pixels, spec: ImageSpec) -> Pixels:
    squeezed = pixels[..., 0] if pixels.shape[3] == 1 else pixels
    fitted = [fit(Image.fromarray(np.ascontiguousarray(image)), spec) for image in squeezed]
    return np.stack(fitted)  # (n, channels, height, width)


def _damaged(reason: str) -> MalformedInput:
    return MalformedInput(f"the NumPy array is truncated or damaged: {reason}; save it again")
