"""The short way agrees with Pillow wherever it is taken, and steps aside where it should."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from types import ModuleType

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.codecs import fast_png
from tests.service.codecs.pictures import disc, noise, opened, png_chunk, saved


@pytest.fixture(params=["as installed", "without kornia-rs"])
def codec(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    if request.param == "as installed":
        yield fast_png
        return
    with monkeypatch.context() as patched:
        patched.setitem(sys.modules, "kornia_rs", None)
        yield importlib.reload(fast_png)
    importlib.reload(fast_png)


@pytest.mark.parametrize("pixels", [noise(16, 16), disc(), np.zeros((16, 16), np.uint8)])
@pytest.mark.parametrize("level", [0, 1, 9])
def test_decode_agrees_with_pillow(codec: ModuleType, pixels: np.ndarray, level: int) -> None:
    decoded = codec.decode_gray_png(saved(pixels, compress_level=level), height=16, width=16)
    assert decoded.dtype == np.uint8
    assert (decoded == pixels).all()


def test_decode_joins_several_data_chunks(codec: ModuleType) -> None:
    data = saved(noise(16, 16))
    start = data.index(b"IDAT") - 4
    end = data.index(b"IEND") - 4
    content = data[start + 8 : end - 4]
    split = png_chunk(b"IDAT", content[:50]) + png_chunk(b"IDAT", content[50:])
    decoded = codec.decode_gray_png(data[:start] + split + data[end:], height=16, width=16)
    assert (decoded == noise(16, 16)).all()


def test_decode_keeps_to_harmless_chunks(codec: ModuleType) -> None:
    data = saved(noise(16, 16), dpi=(72, 72))
    assert b"pHYs" in data
    assert codec.decode_gray_png(data, height=16, width=16) is not None


@pytest.mark.parametrize(
    "data",
    [
        saved(noise(16, 17)),
        saved(noise(16, 16, 3)),
        saved(noise(16, 16), transparency=7),
        saved(noise(16, 16) > 99),
        saved(noise(16, 16).astype(np.uint16) * 257),
        saved(noise(16, 16), "JPEG"),
        b"",
    ],
    ids=["size", "color", "transparent", "1 bit", "16 bit", "JPEG", "empty"],
)
def test_decode_leaves_the_rest_to_the_long_way(codec: ModuleType, data: bytes) -> None:
    assert codec.decode_gray_png(data, height=16, width=16) is None


def test_decode_leaves_damaged_files_to_the_long_way(codec: ModuleType) -> None:
    data = saved(noise(16, 16))
    for length in range(33, len(data) - 12, 7):
        assert codec.decode_gray_png(data[:length], height=16, width=16) is None


def test_decode_leaves_wrong_checksums_to_the_long_way(codec: ModuleType) -> None:
    data = bytearray(saved(noise(16, 16)))
    data[data.index(b"IDAT") + 20] ^= 1
    assert codec.decode_gray_png(bytes(data), height=16, width=16) is None


@settings(max_examples=50)
@given(st.data())
def test_decode_of_any_change_is_right_or_left(data: st.DataObject) -> None:
    """A changed body under a right checksum is left, or read as by Pillow if that takes it.

    The decoder stops at the last pixel, so it does not see a wrong Adler sum after it.
    """
    whole = saved(noise(16, 16))
    start, end = whole.index(b"IDAT") - 4, whole.index(b"IEND") - 4
    content = bytearray(whole[start + 8 : end - 4])
    content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    changed = whole[:start] + png_chunk(b"IDAT", bytes(content)) + whole[end:]
    decoded = fast_png.decode_gray_png(changed, height=16, width=16)
    try:
        right = opened(changed)
    except (OSError, SyntaxError):
        return
    assert decoded is None or (decoded == right).all()


@pytest.mark.parametrize("shape", [(1, 1), (5, 9), (5, 9, 3)])
def test_encode_is_read_by_pillow(shape: tuple[int, ...]) -> None:
    assert (opened(fast_png.encode_png(noise(*shape))) == noise(*shape)).all()


def test_encode_compresses() -> None:
    assert len(fast_png.encode_png(np.zeros((200, 200), np.uint8))) < 1000
