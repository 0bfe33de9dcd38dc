"""One picture's bytes as the pixels that a network takes, the way the service reads them.

16 bits keep the upper eight, transparent parts show the ground, of several pages or frames the
first counts, and the size changes bilinearly with antialiasing; the aspect ratio is not kept.
"""

import io
import warnings

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF", "PPM")
PAGED = ("TIFF", "GIF")  # formats of stacks and animations
MAX_PIXELS = 64_000_000
DRAFT_FACTOR = 4
SIXTEEN_BITS = 0xFFFF
BLACK, WHITE = 0, 255
Bytes = NDArray[np.uint8]


def open_picture(content: bytes, *, wanted: int | None = None, ground: int = WHITE) -> Image.Image:
    """Decode one file's bytes, upright and with eight bits a channel.

    Args:
        content: Of the file.
        wanted: Side that is needed; a much larger JPEG is then decoded at a fraction of its size.
        ground: Gray level, 0 to 255, that shows through transparent parts.

    Raises:
        ValueError: With the reason why not.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # The size is checked here; damaged EXIF turns nothing.
        try:
            image = _upright(_decoded(content, wanted))
            return _on_ground(_eight_bit(image), ground)
        except MemoryError:
            raise
        except Exception as error:  # Whatever a decoder raises means that the bytes are damaged.
            raise ValueError(_reason(error)) from error


def _reason(error: Exception) -> str:
    if "identify" in str(error):
        return "no image that can be read"
    return str(error) or type(error).__name__


def _decoded(content: bytes, wanted: int | None) -> Image.Image:
    image = Image.open(io.BytesIO(content), formats=FORMATS)
    if image.width * image.height > MAX_PIXELS:
        raise ValueError(f"{image.width} x {image.height} pixels are more than {MAX_PIXELS:,}")
    if wanted and image.format == "JPEG" and min(image.size) >= DRAFT_FACTOR * wanted:
        image.draft(None, (2 * wanted, 2 * wanted))
    image.load()
    return image


def _upright(image: Image.Image) -> Image.Image:
    """Turned as its EXIF says, or as it is where that is damaged."""
    try:
        return ImageOps.exif_transpose(image)
    except MemoryError:
        raise
    except Exception:  # Pillow reads only a part of damaged EXIF, and fails in many ways.
        return image


def _eight_bit(image: Image.Image) -> Image.Image:
    if image.mode != "F" and not image.mode.startswith("I"):
        return image
    values = np.asarray(image)
    if image.mode == "F" or values.min() < 0 or values.max() > SIXTEEN_BITS:
        raise ValueError(
            f"its values are {values.min():g} to {values.max():g}: scale them and save 8 or 16 "
            "bits a channel"
        )
    return Image.fromarray((values.astype(np.int64) >> 8).astype(np.uint8))


def _on_ground(image: Image.Image, level: int) -> Image.Image:
    if not image.has_transparency_data:
        return image
    ground = Image.new("RGBA", image.size, (level, level, level, 255))
    return Image.alpha_composite(ground, image.convert("RGBA"))


def has_pages(content: bytes) -> bool:
    """Whether the bytes of a picture are a TIFF stack or an animated GIF."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            image = Image.open(io.BytesIO(content), formats=PAGED)
            return bool(getattr(image, "is_animated", False))
    except Exception:  # The first frame could be read, and no other can.
        return False


def picture_bytes(
    content: bytes, image_shape: tuple[int, int, int], *, ground: int = WHITE
) -> Bytes:
    """One file's bytes as uint8 (channels, height, width); `ground` as in `open_picture`.

    Raises:
        ValueError: With the reason why not.
    """
    channels, height, width = image_shape
    image = open_picture(content, wanted=width, ground=ground)
    image = image.convert("L" if channels == 1 else "RGB")
    if image.size != (width, height):
        image = image.resize((width, height), Image.Resampling.BILINEAR)
    pixels = np.asarray(image).reshape(height, width, channels)
    return np.ascontiguousarray(pixels.transpose(2, 0, 1))  # (channels, height, width)
