"""Image files to the pixels that a model takes, and pixels to image files.

Other sizes are resized (bilinear with antialiasing, the aspect ratio is not kept), color becomes
gray by ITU-R 601 and gray becomes color by repetition, transparent parts show the ground that the
model's polarity implies, and of animations the first frame counts.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from PIL import BmpImagePlugin, Image, ImageOps, JpegImagePlugin, PngImagePlugin, WebPImagePlugin

from service.codecs.fast_png import decode_gray_png, encode_png
from service.codecs.header import Format, ImageHeader, damaged, read_header
from service.codecs.spec import DecodedImages, ImageSpec, Pixels
from service.errors import InvalidValue, MalformedInput, TooManyPixels

__all__ = ["decode_image", "decode_images", "encode_png", "fit", "to_pixels"]

# The plugins themselves and not `Image.open`, which would try every format that Pillow knows.
OPENERS: Final[dict[Format, Any]] = {
    "PNG": PngImagePlugin.PngImageFile,
    "JPEG": JpegImagePlugin.JpegImageFile,
    "WebP": WebPImagePlugin.WebPImageFile,
    "BMP": BmpImagePlugin.BmpImageFile,
}
# A JPEG this many times larger than wanted is decoded at a fraction of its size.
DRAFT_FACTOR: Final = 4


def decode_image(data: bytes, spec: ImageSpec, *, max_pixels: int) -> DecodedImages:
    """One image file to uint8 (1, channels, height, width).

    Raises:
        MalformedInput: not a PNG, JPEG, WebP or BMP image, or a damaged one.
        TooManyPixels: by its header, before anything is decoded.
    """
    if spec.channels == 1:
        plain = decode_gray_png(data, height=spec.height, width=spec.width)
        if plain is not None:
            return DecodedImages(plain[None, None], resized=False)  # (1, 1, height, width)
    header = read_header(data, max_pixels=max_pixels)
    pixels = _decode(data, header, spec, max_pixels)
    resized = (header.width, header.height) != (spec.width, spec.height)
    return DecodedImages(pixels[None], resized)  # (1, channels, height, width)


def decode_images(files: Sequence[bytes], spec: ImageSpec, *, max_pixels: int) -> DecodedImages:
    """Image files to uint8 (n, channels, height, width); raises as `decode_image` does.

    With several files an error says which one it is about, counted from 0.
    """
    if not files:
        raise InvalidValue("a request must hold at least one image; got none")
    decoded = [
        _decode_one_of(files, index, spec=spec, max_pixels=max_pixels)
        for index in range(len(files))
    ]
    images = np.concatenate([one.images for one in decoded])  # (n, channels, height, width)
    return DecodedImages(images, any(one.resized for one in decoded))


def to_pixels(images: npt.NDArray[np.float32]) -> Pixels:
    """[0, 1] to 0 … 255, rounded to the nearest: same shape, uint8."""
    return np.rint(images.clip(0, 1) * np.float32(255)).astype(np.uint8)


def upright(image: Image.Image) -> Image.Image:
    """Turned as its EXIF says, or as it is where that is damaged, as training takes it."""
    try:
        return ImageOps.exif_transpose(image)
    except MemoryError:
        raise
    except Exception:  # Pillow reads only a part of damaged EXIF, and fails in many ways
        return image


def fit(image: Image.Image, spec: ImageSpec) -> Pixels:
    """A decoded image in the model's size and channels: uint8 (channels, height, width)."""
    image = _on_ground(_eight_bit(image), spec)
    image = image.convert("L" if spec.channels == 1 else "RGB")
    if image.size != (spec.width, spec.height):
        image = image.resize((spec.width, spec.height), Image.Resampling.BILINEAR)
    pixels = np.asarray(image).reshape(spec.height, spec.width, spec.channels)
    return np.ascontiguousarray(pixels.transpose(2, 0, 1))  # (channels, height, width)


def _decode_one_of(
    files: Sequence[bytes], index: int, *, spec: ImageSpec, max_pixels: int
) -> DecodedImages:
    try:
        return decode_image(files[index], spec, max_pixels=max_pixels)
    except (MalformedInput, TooManyPixels) as error:
        if len(files) == 1:
            raise
        raise type(error)(f"images[{index}]: {error.detail}") from None


def _decode(data: bytes, header: ImageHeader, spec: ImageSpec, max_pixels: int) -> Pixels:
    try:
        with OPENERS[header.format](io.BytesIO(data)) as image:
            if image.width * image.height > max_pixels:  # a second header that the first one hides
                raise damaged(header.format, len(data))
            _draft(image, header, spec)
            image.load()
            return fit(upright(image) if "exif" in image.info else image, spec)
    except (MalformedInput, MemoryError):
        raise
    except Exception:  # whatever a decoder raises on hostile bytes means that they are damaged
        raise damaged(header.format, len(data)) from None


def _draft(image: Image.Image, header: ImageHeader, spec: ImageSpec) -> None:
    """Let the JPEG decoder skip detail that the model's size cannot hold."""
    wanted = (spec.width * 2, spec.height * 2)
    larger = min(header.width / spec.width, header.height / spec.height)
    if header.format == "JPEG" and larger >= DRAFT_FACTOR:
        image.draft(None, wanted)


def _eight_bit(image: Image.Image) -> Image.Image:
    """16-bit gray keeps its upper eight bits; Pillow's own conversion would clip."""
    if not image.mode.startswith("I"):
        return image
    values = np.asarray(image).astype(np.int64).clip(0, 0xFFFF)
    return Image.fromarray((values >> 8).astype(np.uint8))


def _on_ground(image: Image.Image, spec: ImageSpec) -> Image.Image:
    if not image.has_transparency_data:
        return image
    level = 0 if spec.polarity == "light_on_dark" else 255
    ground = Image.new("RGBA", image.size, (level, level, level, 255))
    return Image.alpha_composite(ground, image.convert("RGBA"))
