"""npy bodies: what design takes, and nothing that a header only claims."""

from __future__ import annotations

import io
import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from PIL import Image

from service.codecs.images import decode_image
from service.codecs.npy import read_images, read_latents, read_npy_header, write_npy
from service.errors import (
    InvalidValue,
    MalformedInput,
    ServiceError,
    TooManyPixels,
    TooManyRows,
)
from service.models.artifact import ImageSpec
from tests.service.codecs.pictures import PLENTY, noise, spec

# numpy warns when it casts it
SIGNALING_NAN = np.array([[0x7FF0000000000001]], np.uint64).view(np.float64)


def _saved(array: Any, **options: Any) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, **options)
    return buffer.getvalue()


def _images(data: bytes, like: ImageSpec | None = None) -> np.ndarray:
    return read_images(data, like or spec(), max_rows=8, max_pixels=PLENTY).images


def _with_header(text: str, content: bytes = b"", version: int = 1) -> bytes:
    length = struct.pack("<H" if version == 1 else "<I", len(text))
    return b"\x93NUMPY" + bytes([version, 0]) + length + text.encode() + content


@pytest.mark.parametrize("shape", [(3, 16, 16), (3, 16, 16, 1)])
def test_images_take_gray_with_and_without_channel(shape: tuple[int, ...]) -> None:
    pixels = noise(*shape)
    decoded = read_images(_saved(pixels), spec(), max_rows=8, max_pixels=PLENTY)
    assert decoded.images.shape == (3, 1, 16, 16)
    assert (decoded.images[:, 0] == pixels.reshape(3, 16, 16)).all()
    assert not decoded.resized


def test_images_put_color_channels_first() -> None:
    pixels = noise(2, 16, 16, 3)
    assert (_images(_saved(pixels), spec(3)) == pixels.transpose(0, 3, 1, 2)).all()


def test_images_convert_channels_as_image_files_do() -> None:
    gray, color = noise(1, 16, 16), np.zeros((1, 16, 16, 3), np.uint8)
    color[..., 0] = 255
    assert (_images(_saved(gray), spec(3)) == gray).all()
    assert (_images(_saved(color), spec(1)) == 76).all()


def test_images_show_the_ground_through_transparent_parts_as_image_files_do() -> None:
    pixels = noise(1, 16, 16, 4)
    pixels[:, :8, :, 3] = 0
    file = io.BytesIO()
    Image.fromarray(pixels[0]).save(file, "PNG")
    for channels in (1, 3):
        decoded = decode_image(file.getvalue(), spec(channels), max_pixels=PLENTY)
        assert (_images(_saved(pixels), spec(channels)) == decoded.images).all()
        assert len(np.unique(decoded.images[:, :, :8])) == 1


@pytest.mark.parametrize("shape", [(2, 8, 8), (2, 20, 40, 3)])
def test_images_are_resized_and_it_is_said(shape: tuple[int, ...]) -> None:
    decoded = read_images(_saved(noise(*shape)), spec(), max_rows=8, max_pixels=PLENTY)
    assert decoded.resized
    assert decoded.images.shape == (2, 1, 16, 16)


def test_images_scale_floats_and_round() -> None:
    levels = np.full((1, 16, 16), 0.5, np.float32)
    assert (_images(_saved(levels)) == 128).all()
    assert (_images(_saved(levels.astype(">f4"))) == 128).all()


def test_images_in_fortran_order_are_the_same() -> None:
    pixels = noise(3, 16, 16)
    assert (_images(_saved(np.asfortranarray(pixels))) == _images(_saved(pixels))).all()


@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
def test_images_of_every_format_version_are_read(version: tuple[int, int]) -> None:
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, noise(1, 16, 16), version=version)
    assert (_images(buffer.getvalue())[0] == noise(1, 16, 16)).all()


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (noise(16, 16), r"must have the shape \(n, height, width\) or .*; got \(16, 16\); add a"),
        (noise(16, 16, 3), r"got \(16, 16, 3\); add a first axis to a single image"),
        (noise(16, 16, 1), r"got \(16, 16, 1\); add a first axis to a single image"),
        (noise(1, 16, 16, 5), r"got \(1, 16, 16, 5\)"),
        (noise(16, 16, 4), r"got \(16, 16, 4\); add a first axis"),
        (noise(1, 3, 16, 16), r"got \(1, 3, 16, 16\); move axes, channels last"),
        (noise(0, 16, 16), r"got \(0, 16, 16\)"),
        (np.zeros((1, 2, 8)), "must be uint8 in 0 .* got dtype `<f8`; scale the values"),
        (np.zeros((1, 2, 8), np.int8), "got dtype `|i1`"),
        (np.zeros((1, 2, 8), [("a", "u1")]), "got dtype `records`"),
        (np.full((1, 2, 8), np.nan, np.float32), r"must lie in \[0, 1\] and not be NaN; got nan"),
        (np.full((1, 2, 8), 1.5, np.float32), r"got 1.5 to 1.5; send 0 to 255 as uint8"),
        (np.full((1, 2, 8), -np.inf, np.float32), r"got -inf to -inf"),
    ],
)
def test_images_refuse_wrong_arrays(array: np.ndarray, message: str) -> None:
    with pytest.raises(InvalidValue, match=message):
        _images(_saved(array))


def test_images_refuse_too_many_rows_and_pixels() -> None:
    with pytest.raises(TooManyRows, match="may have 8 rows at most; got 9; send several requests"):
        _images(_saved(noise(9, 2, 8)))
    with pytest.raises(TooManyPixels, match="may have 100 pixels at most; got 50 x 20"):
        read_images(_saved(noise(1, 20, 50)), spec(), max_rows=8, max_pixels=100)


def test_objects_are_never_unpickled() -> None:
    data = _saved(np.array([print], dtype=object), allow_pickle=True)
    with pytest.raises(MalformedInput, match=r"got Python objects .* never unpickled"):
        _images(data)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", r"must be a NumPy array as `numpy.save` writes it; got nothing"),
        (b"hello", "got 5 bytes of text"),
        (b"\x93NUMPY", "its header cannot be read"),
        (b"\x93NUMPY\x01\0\x40\0{", "its header cannot be read"),
        (b"\x93NUMPY\x09\0" + bytes(99), "its header cannot be read"),
        (_with_header("{'descr': '|u1'}"), "its header cannot be read"),
        (_with_header("[1, 2]"), "its header cannot be read"),
        (_with_header("(" * 3000), "its header cannot be read"),
        (_with_header("__import__('os')"), "its header cannot be read"),
        (_with_header(" " * 5000, version=2), "its header cannot be read"),
        (
            _with_header("{'descr': '|u1', 'fortran_order': 1, 'shape': (1, 2, 8)}"),
            "its header cannot be read",
        ),
        (
            _with_header("{'descr': '|u1', 'fortran_order': False, 'shape': (1, -2, 8)}"),
            "its header cannot be read",
        ),
        (
            _with_header("{'descr': '|u1', 'fortran_order': False, 'shape': (1, 2, 8)}", b"123"),
            r"shape \(1, 2, 8\) of uint8 needs 16 bytes of data, got 3; save it again",
        ),
        (_saved(noise(1, 2, 8)) + b"x", "needs 16 bytes of data, got 17"),
    ],
)
def test_damaged_files_are_refused(data: bytes, message: str) -> None:
    with pytest.raises(MalformedInput, match=message):
        _images(data)


def test_a_huge_claim_allocates_nothing() -> None:
    text = "{'descr': '<f4', 'fortran_order': False, 'shape': (8, 1000000, 1000000)}"
    with pytest.raises(MalformedInput, match="needs 32000000000000 bytes of data, got 0"):
        read_images(_with_header(text), spec(), max_rows=8, max_pixels=10**13)


@pytest.mark.parametrize("dtype", ["<f4", ">f4", "<f8", ">f8"])
def test_latents_become_float32(dtype: str) -> None:
    latents = np.arange(6, dtype=dtype).reshape(2, 3)
    read = read_latents(_saved(latents), max_rows=8)
    assert read.dtype == np.float32
    assert read.tolist() == latents.tolist()
    assert read_latents(_saved(np.asfortranarray(latents)), max_rows=8).tolist() == read.tolist()


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros(3, np.float32), r"must have the shape \(n, dims\); got \(3,\)"),
        (np.zeros((0, 3), np.float32), r"got \(0, 3\)"),
        (np.zeros((1, 3), np.int64), "must be float32 or float64; got dtype `<i8`"),
        (np.array([[np.nan]]), "must be finite float32 numbers; got NaN or infinity"),
        (np.array([[np.inf]]), "must be finite float32 numbers"),
        (SIGNALING_NAN, "must be finite float32 numbers; got NaN or infinity"),
        (np.array([[1e300]]), "must be finite float32 numbers"),
    ],
)
def test_latents_refuse_wrong_arrays(array: np.ndarray, message: str) -> None:
    with pytest.raises(InvalidValue, match=message):
        read_latents(_saved(array), max_rows=8)


def test_latents_refuse_too_many_rows() -> None:
    with pytest.raises(TooManyRows, match="may have 8 rows at most; got 9"):
        read_latents(_saved(np.zeros((9, 2), np.float32)), max_rows=8)


@given(
    arrays(
        st.sampled_from([np.dtype("u1"), np.dtype("<f4"), np.dtype("<i8")]),
        array_shapes(min_dims=0, max_dims=4, min_side=0),
        elements=st.integers(0, 99),
    )
)
def test_write_is_read_by_numpy(array: np.ndarray) -> None:
    data = write_npy(array)
    back = np.load(io.BytesIO(data))
    assert back.dtype == array.dtype
    assert (back == array).all()
    assert back.shape == array.shape == read_npy_header(data).shape
    assert read_npy_header(data).offset % 64 == 0


def test_write_turns_fortran_order_around() -> None:
    array = np.asfortranarray(np.arange(6).reshape(2, 3))
    assert (np.load(io.BytesIO(write_npy(array))) == array).all()


@settings(max_examples=200)
@given(st.data())
def test_changed_bytes_never_fail_otherwise(data: st.DataObject) -> None:
    content = bytearray(_saved(noise(2, 5, 6)))
    for _ in range(data.draw(st.integers(1, 6))):
        content[data.draw(st.integers(6, len(content) - 1))] = data.draw(st.integers(0, 255))
    for read in (lambda raw: _images(raw), lambda raw: read_latents(raw, max_rows=8)):
        try:
            rows = read(bytes(content))
        except ServiceError:
            continue
        assert len(rows) <= 8
