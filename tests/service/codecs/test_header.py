"""Format and size from the first bytes, as Pillow reads them, and names for everything else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.codecs.header import describe, read_header
from service.errors import MalformedInput, TooManyPixels
from tests.service.codecs.pictures import PLENTY, huge_png, noise, saved

FORMATS = [
    ("PNG", "PNG", {}),
    ("JPEG", "JPEG", {}),
    ("JPEG", "JPEG", {"progressive": True, "comment": b"x" * 300}),
    ("WEBP", "WebP", {"lossless": True}),
    ("WEBP", "WebP", {"quality": 50}),
    ("WEBP", "WebP", {"lossless": True, "exif": b"Exif\0\0MM\0*"}),
    ("BMP", "BMP", {}),
]


@pytest.mark.parametrize(("pillow", "name", "options"), FORMATS)
def test_header_gives_format_and_size(pillow: str, name: str, options: dict[str, object]) -> None:
    header = read_header(saved(noise(31, 57, 3), pillow, **options), max_pixels=PLENTY)
    assert (header.format, header.width, header.height) == (name, 57, 31)
    assert header.pixels == 57 * 31


def test_header_reads_bitmaps_with_rows_from_the_top_and_old_ones() -> None:
    data = bytearray(saved(noise(5, 7), "BMP"))
    data[22:26] = (-5).to_bytes(4, "little", signed=True)
    assert read_header(bytes(data), max_pixels=PLENTY).height == 5
    old = b"BM" + bytes(12) + (12).to_bytes(4, "little") + b"\x07\0\x05\0" + bytes(4)
    header = read_header(old, max_pixels=PLENTY)
    assert (header.width, header.height) == (7, 5)


def test_header_refuses_too_many_pixels_without_decoding() -> None:
    message = r"16777216 pixels at most; got 20000 x 20000 = 400000000; send it smaller"
    with pytest.raises(TooManyPixels, match=message):
        read_header(huge_png(), max_pixels=4096 * 4096)


def test_header_accepts_exactly_the_limit() -> None:
    assert read_header(huge_png(100, 100), max_pixels=10_000).pixels == 10_000


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (b"", r"nothing \(an empty body\)"),
        (b"hello, this is text", "19 bytes of text"),
        (b'  {"images": []}', "16 bytes of JSON text"),
        (b"<html></html>", "13 bytes of HTML or XML text"),
        (b"GIF89a\x01\0\x01\0", r"a GIF image \(save it as PNG\)"),
        (b"%PDF-1.7", "a PDF document"),
        (b"II*\0\x08\0\0\0", r"a TIFF image \(save it as PNG\)"),
        (b"\0\0\0\x18ftypheic\0\0\0\0", r"a HEIF image \(save it as PNG\)"),
        (b"PK\x03\x04", "a ZIP archive"),
        (b"\x1f\x8b\x08", "gzip data"),
        (b"\x93NUMPY\x01\0", r"a NumPy array \(send it as `application/x-npy`\)"),
        (b"\x00\x01\x02\xff", "4 bytes of an unknown format"),
        (b"\xff\xfe" + b"a\0" * 300, "602 bytes of an unknown format"),
        ("é".encode() * 600, "1200 bytes of text"),
        (b"BM", "2 bytes of text"),
    ],
)
def test_header_names_what_was_received(data: bytes, name: str) -> None:
    message = rf"^an image must be a PNG, JPEG, WebP or BMP file; got {name}$"
    with pytest.raises(MalformedInput, match=message):
        read_header(data, max_pixels=PLENTY)


def test_describe_never_quotes_the_content() -> None:
    assert "secret" not in describe(b"secret diary")


@pytest.mark.parametrize(("pillow", "name", "options"), FORMATS[:-1])
def test_header_cut_short_is_damaged(pillow: str, name: str, options: dict[str, object]) -> None:
    data = saved(noise(31, 57, 3), pillow, **options)[:21]
    with pytest.raises(MalformedInput, match=f"the {name} image is truncated or damaged; got 21"):
        read_header(data, max_pixels=PLENTY)


def test_header_refuses_a_size_of_zero() -> None:
    with pytest.raises(MalformedInput, match="the PNG image is truncated or damaged"):
        read_header(huge_png(0, 5), max_pixels=PLENTY)


@given(
    st.sampled_from([saved(noise(8, 9, 3), pillow, **options) for pillow, _, options in FORMATS]),
    st.data(),
)
def test_header_of_any_bytes_is_read_or_refused(image: bytes, data: st.DataObject) -> None:
    place = data.draw(st.integers(2, 40))
    changed = image[:place] + data.draw(st.binary(max_size=12)) + image[place:]
    try:
        header = read_header(changed, max_pixels=PLENTY)
    except (MalformedInput, TooManyPixels):
        return
    assert 0 < header.pixels <= PLENTY
