"""Image files that training reads besides those that come over HTTP, for bulk encoding.

TIFF, GIF, PGM and PPM as `training.data.pictures` reads them: of several pages or frames the first
counts. Bytes that a stranger sends never get here.
"""

from __future__ import annotations

import io
from typing import Any, Final

import numpy as np
from PIL import GifImagePlugin, Image, PpmImagePlugin, TiffImagePlugin

from service.codecs.header import damaged, require_pixels
from service.codecs.images import decode_image, fit, upright
from service.codecs.spec import ImageSpec, Pixels
from service.errors import MalformedInput, TooManyPixels

OPENERS: Final[dict[bytes, Any]] = {
    b"II*\0": TiffImagePlugin.TiffImageFile,
    b"MM\0*": TiffImagePlugin.TiffImageFile,
    b"II+\0": TiffImagePlugin.TiffImageFile,  # BigTIFF
    b"MM\0+": TiffImagePlugin.TiffImageFile,
    b"GIF8": GifImagePlugin.GifImageFile,
    **dict.fromkeys((b"P2", b"P3", b"P5", b"P6"), PpmImagePlugin.PpmImageFile),
}
SUFFIXES: Final = frozenset(
    {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".pgm", ".ppm"}
)
SIXTEEN_BITS: Final = 0xFFFF


def decode_local_image(data: bytes, spec: ImageSpec, *, max_pixels: int) -> Pixels:
    """One image file to uint8 (1, channels, height, width).

    Raises:
        MalformedInput: of another format, damaged, or with values beyond 16 bits.
        TooManyPixels: by its header, before anything is decoded.
    """
    opener = next((one for start, one in OPENERS.items() if data.startswith(start)), None)
    if opener is None:
        return decode_image(data, spec, max_pixels=max_pixels).images
    try:
        with opener(io.BytesIO(data)) as image:
            require_pixels(image.width, image.height, max_pixels=max_pixels)
            image.load()
            _require_levels(image)
            return fit(upright(image), spec)[None]
    except (MalformedInput, TooManyPixels, MemoryError):
        raise
    except Exception:  # whatever a decoder raises means that the file is damaged
        raise damaged(opener.format, len(data)) from None


def _require_levels(image: Image.Image) -> None:
    if image.mode != "F" and not image.mode.startswith("I"):
        return
    values = np.asarray(image)
    if image.mode == "F" or values.min() < 0 or values.max() > SIXTEEN_BITS:
        raise MalformedInput(
            f"an image must have 8 or 16 bits a channel; got values of {values.min():g} to "
            f"{values.max():g}; scale them and save it anew"
        )
