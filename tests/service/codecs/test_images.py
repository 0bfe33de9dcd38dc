"""Image files: every accepted kind comes out in the model's shape, everything else is named."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from service.codecs.images import decode_image, decode_images, encode_png, to_pixels
from service.errors import InvalidValue, MalformedInput, TooManyPixels
from service.models.artifact import ImageSpec
from tests.service.codecs.pictures import PLENTY, disc, huge_png, noise, opened, saved, spec


def _decode(data: bytes, like: ImageSpec | None = None) -> np.ndarray:
    return decode_image(data, like or spec(), max_pixels=PLENTY).images


@pytest.mark.parametrize(
    ("image_format", "options"),
    [("PNG", {}), ("BMP", {}), ("WEBP", {"lossless": True}), ("PNG", {"optimize": True})],
)
def test_decode_keeps_gray_pixels_of_lossless_formats(
    image_format: str, options: dict[str, object]
) -> None:
    pixels = noise(16, 16)
    decoded = decode_image(saved(pixels, image_format, **options), spec(), max_pixels=PLENTY)
    assert decoded.images.shape == (1, 1, 16, 16)
    assert decoded.images.dtype == np.uint8
    assert not decoded.resized
    assert np.abs(decoded.images[0, 0].astype(int) - pixels).max() <= 1  # WebP stores color


def test_decode_takes_jpeg() -> None:
    decoded = _decode(saved(disc(), "JPEG", quality=95))
    assert np.abs(decoded[0, 0].astype(int) - disc()).mean() < 5


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA"])
def test_decode_gives_the_models_channels(mode: str, channels: int) -> None:
    image = Image.fromarray(disc()).convert(mode)
    decoded = _decode(saved(image), spec(channels))
    assert decoded.shape == (1, channels, 16, 16)
    assert (decoded == disc()).all()


def test_decode_makes_gray_by_the_weights_of_itu_r_601() -> None:
    red = np.zeros((16, 16, 3), np.uint8)
    red[..., 0] = 255
    assert (_decode(saved(red)) == 76).all()


def test_decode_keeps_color_in_order() -> None:
    pixels = noise(16, 16, 3)
    assert (_decode(saved(pixels), spec(3))[0] == pixels.transpose(2, 0, 1)).all()


def test_decode_takes_the_upper_byte_of_16_bit_gray() -> None:
    pixels = noise(16, 16)
    deep = pixels.astype(np.uint16) * 256 + 99
    assert (_decode(saved(deep))[0, 0] == pixels).all()


@pytest.mark.parametrize(("polarity", "level"), [("light_on_dark", 0), ("dark_on_light", 255)])
def test_decode_shows_the_ground_where_it_is_transparent(polarity: str, level: int) -> None:
    clear = Image.new("RGBA", (16, 16), (120, 120, 120, 0))
    assert (_decode(saved(clear), spec(polarity=polarity)) == level).all()


def test_decode_shows_the_ground_for_a_transparent_gray_level() -> None:
    data = saved(np.full((16, 16), 7, np.uint8), transparency=7)
    assert (_decode(data, spec(polarity="dark_on_light")) == 255).all()


@pytest.mark.parametrize("size", [(8, 8), (64, 64), (16, 40)])
def test_decode_resizes_and_says_so(size: tuple[int, int]) -> None:
    decoded = decode_image(saved(disc(*size)), spec(), max_pixels=PLENTY)
    assert decoded.resized
    assert decoded.images.shape == (1, 1, 16, 16)
    assert np.abs(decoded.images[0, 0].astype(int) - disc()).mean() < 40


def test_decode_resizes_large_jpeg_about_as_it_does_png() -> None:
    from_jpeg = _decode(saved(disc(400, 400), "JPEG", quality=95))
    from_png = _decode(saved(disc(400, 400)))
    assert np.abs(from_jpeg.astype(int) - from_png).mean() < 4


def test_decode_turns_pictures_upright() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: rotate by a quarter
    pixels = disc(16, 16)
    pixels[:8] = 0
    upright = _decode(saved(pixels, "JPEG", quality=95, exif=exif))
    assert np.abs(upright[0, 0].astype(int) - np.rot90(pixels, -1)).mean() < 5


@pytest.mark.parametrize("image_format", ["PNG", "JPEG", "WEBP"])
def test_decode_leaves_a_picture_with_damaged_exif_unturned(image_format: str) -> None:
    pixels = disc(16, 16)
    orientation = struct.pack(">HHI4s", 0x0112, 3, 1, b"\0\6\0\0")
    of_wrong_type = struct.pack(">HHI4s", 0x0128, 2, 1, b"A\0\0\0")
    exif = b"Exif\0\0MM\0*\0\0\0\x08\0\x02" + orientation + of_wrong_type + bytes(4)
    unturned = _decode(saved(pixels, image_format, quality=95, exif=exif))
    assert np.abs(unturned[0, 0].astype(int) - pixels).mean() < 5


def test_decode_takes_the_first_frame_of_an_animation() -> None:
    frames = [Image.fromarray(np.full((16, 16), level, np.uint8)) for level in (200, 10)]
    for image_format in ("PNG", "WEBP"):
        data = saved(
            frames[0], image_format, save_all=True, append_images=frames[1:], lossless=True
        )
        assert (np.abs(_decode(data).astype(int) - 200) <= 1).all()


def test_decode_refuses_a_huge_picture_by_its_header() -> None:
    with pytest.raises(TooManyPixels, match="got 20000 x 20000 = 400000000"):
        decode_image(huge_png(), spec(), max_pixels=4096 * 4096)


def test_decode_refuses_text_called_an_image() -> None:
    message = "must be a PNG, JPEG, WebP or BMP file; got 9 bytes of text"
    with pytest.raises(MalformedInput, match=message):
        _decode(b"not a png")


@pytest.mark.parametrize("image_format", ["PNG", "JPEG", "WEBP", "BMP"])
def test_decode_refuses_truncated_files(image_format: str) -> None:
    whole = saved(noise(40, 40, 3), image_format)
    data = whole[: len(whole) // 2]
    name = {"WEBP": "WebP"}.get(image_format, image_format)
    message = f"the {name} image is truncated or damaged; got {len(data)} bytes; send the whole"
    with pytest.raises(MalformedInput, match=message):
        _decode(data)


def test_decode_refuses_a_truncated_png_of_the_models_own_size() -> None:
    data = saved(noise(16, 16))[:200]
    with pytest.raises(MalformedInput, match="the PNG image is truncated or damaged; got 200"):
        _decode(data)


@settings(max_examples=150)
@given(st.sampled_from(["PNG", "JPEG", "WEBP", "BMP"]), st.data())
def test_decode_of_changed_bytes_never_fails_otherwise(
    image_format: str, data: st.DataObject
) -> None:
    content = bytearray(saved(noise(12, 11, 3), image_format))
    for _ in range(data.draw(st.integers(1, 5))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    try:
        decoded = decode_image(bytes(content), spec(), max_pixels=10_000)
    except (MalformedInput, TooManyPixels):
        return
    assert decoded.images.shape == (1, 1, 16, 16)


def test_decode_images_stacks_in_order() -> None:
    files = [saved(noise(16, 16, seed=seed)) for seed in range(3)]
    decoded = decode_images(files, spec(), max_pixels=PLENTY)
    assert decoded.images.shape == (3, 1, 16, 16)
    assert all((decoded.images[seed, 0] == noise(16, 16, seed=seed)).all() for seed in range(3))
    assert not decoded.resized


def test_decode_images_says_when_one_was_resized() -> None:
    files = [saved(noise(16, 16)), saved(noise(20, 20))]
    assert decode_images(files, spec(), max_pixels=PLENTY).resized


def test_decode_images_names_the_bad_one() -> None:
    with pytest.raises(MalformedInput, match=r"^images\[1\]: an image must be a PNG.* got 4 bytes"):
        decode_images([saved(disc()), b"nope"], spec(), max_pixels=PLENTY)
    with pytest.raises(MalformedInput, match=r"^an image must be"):
        decode_images([b"nope"], spec(), max_pixels=PLENTY)


def test_decode_images_needs_one() -> None:
    with pytest.raises(InvalidValue, match="must hold at least one image; got none"):
        decode_images([], spec(), max_pixels=PLENTY)


def test_to_pixels_rounds_and_clips() -> None:
    levels = np.array([-0.1, 0, 0.5, 0.9999, 1, 1.1], np.float32)
    assert to_pixels(levels).tolist() == [0, 0, 128, 255, 255, 255]


@given(st.integers(1, 20), st.integers(1, 20), st.sampled_from([1, 3]), st.integers(0, 9))
def test_png_round_trip(height: int, width: int, channels: int, seed: int) -> None:
    shape = (height, width) if channels == 1 else (height, width, 3)
    pixels = noise(*shape, seed=seed)
    data = encode_png(pixels)
    decoded = _decode(data, spec(channels, height, width))
    assert (opened(data) == pixels).all()
    assert (decoded[0].transpose(1, 2, 0).reshape(shape) == pixels).all()
