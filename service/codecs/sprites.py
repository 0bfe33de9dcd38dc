"""Many frames in one picture: a grid as PNG, or an animation as GIF or WebP."""

from __future__ import annotations

import io
from typing import Final, Literal

import numpy as np
from PIL import Image

from service.codecs.images import encode_png
from service.codecs.spec import Pixels
from service.errors import TooManyRows

GAP: Final = 2  # pixels between frames
GAP_LEVEL: Final = 128  # seen on dark and on light ground
FRAME_MS: Final = 80
MOST_SIDE: Final = {"GIF": 65_535, "WEBP": 16_383}  # pixels, which the formats can say


def sprite_grid(frames: Pixels) -> Pixels:
    """Lay frames out in rows and columns, separated by gray lines of 2 pixels.

    Args:
        frames: uint8 (rows, columns, channels, height, width).

    Returns:
        uint8 (rows · (height + 2) - 2, columns · (width + 2) - 2[, 3]).
    """
    rows, columns, channels, height, width = frames.shape
    grid = np.full((rows, height + GAP, columns, width + GAP, channels), GAP_LEVEL, dtype=np.uint8)
    grid[:, :height, :, :width] = frames.transpose(0, 3, 1, 4, 2)
    flat = grid.reshape(rows * (height + GAP), columns * (width + GAP), channels)
    flat = flat[:-GAP, :-GAP]
    return flat[..., 0] if channels == 1 else flat


def encode_grid(frames: Pixels) -> bytes:
    """PNG file of `sprite_grid(frames)`."""
    return encode_png(np.ascontiguousarray(sprite_grid(frames)))


def encode_animation(
    frames: Pixels, *, image_format: Literal["GIF", "WEBP"], frame_ms: int = FRAME_MS
) -> bytes:
    """All rows of a grid move together, column by column, forth and back, for ever.

    Args:
        frames: uint8 (rows, columns, channels, height, width); each column becomes a frame.

    Raises:
        TooManyRows: the rows under each other are higher than the format allows.
    """
    n_rows, row_pixels = len(frames), frames.shape[3] + GAP
    most_rows = (MOST_SIDE[image_format] + GAP) // row_pixels
    if n_rows > most_rows:
        raise TooManyRows(
            f"{image_format} holds {most_rows} rows of this height at most; got {n_rows}; ask for "
            "PNG or npy, or send several requests"
        )
    pictures = [
        Image.fromarray(np.ascontiguousarray(sprite_grid(frames[:, column : column + 1])))
        for column in range(frames.shape[1])
    ]
    forth_and_back = pictures + pictures[-2:0:-1]
    buffer = io.BytesIO()
    options = {"lossless": True, "method": 0} if image_format == "WEBP" else {}
    forth_and_back[0].save(
        buffer,
        image_format,
        save_all=True,
        append_images=forth_and_back[1:],
        duration=frame_ms,
        loop=0,
        **options,
    )
    return buffer.getvalue()
