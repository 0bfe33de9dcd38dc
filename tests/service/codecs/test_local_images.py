"""Files that bulk encoding reads besides those of HTTP."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from service.codecs.local_images import decode_local_image
from service.errors import MalformedInput, TooManyPixels
from tests.service.codecs.pictures import PLENTY, noise, saved, spec

PIXELS = noise(16, 16)


@pytest.mark.parametrize(
    ("pixels", "image_format", "options"),
    [
        (PIXELS, "TIFF", {}),
        (PIXELS, "TIFF", {"compression": "tiff_lzw"}),
        (PIXELS, "TIFF", {"big_tiff": True}),
        (PIXELS, "TIFF", {"save_all": True, "append_images": [Image.new("L", (9, 9))]}),
        (PIXELS.astype(np.uint16) << 8, "TIFF", {}),
        (np.rot90(PIXELS).copy(), "TIFF", {"tiffinfo": {274: 6}}),  # 6: turn it clockwise
        (PIXELS, "GIF", {}),
        (PIXELS, "PPM", {}),
        (PIXELS.astype(np.uint16) << 8, "PPM", {}),
        (PIXELS, "PNG", {}),
    ],
)
def test_file_gives_its_pixels(
    pixels: npt.NDArray[Any], image_format: str, options: dict[str, Any]
) -> None:
    file = saved(pixels, image_format, **options)

    decoded = decode_local_image(file, spec(), max_pixels=PLENTY)

    assert decoded.shape == (1, 1, 16, 16)
    assert np.abs(decoded[0, 0].astype(int) - PIXELS).max() <= 1  # 16 bits may round


def test_values_that_are_no_levels_are_refused() -> None:
    file = saved(np.full((8, 8), 0.5, np.float32), "TIFF")

    with pytest.raises(MalformedInput, match=r"8 or 16 bits a channel; got values of 0\.5 to 0\.5"):
        decode_local_image(file, spec(), max_pixels=PLENTY)


def test_damaged_file_is_refused() -> None:
    with pytest.raises(MalformedInput, match="the TIFF image is truncated or damaged"):
        decode_local_image(saved(PIXELS, "TIFF")[:100], spec(), max_pixels=PLENTY)


def test_picture_with_too_many_pixels_is_refused() -> None:
    with pytest.raises(TooManyPixels, match="100 pixels at most; got 16 x 16"):
        decode_local_image(saved(PIXELS, "TIFF"), spec(), max_pixels=100)
