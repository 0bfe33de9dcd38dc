"""What codecs need to know of a model's images, and what decoding gives."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]


class ImageSpec(Protocol):
    """The images that a model takes; `service.models.artifact.ImageSpec` is one."""

    @property
    def channels(self) -> Literal[1, 3]: ...
    @property
    def height(self) -> int: ...
    @property
    def width(self) -> int: ...
    @property
    def polarity(self) -> Literal["light_on_dark", "dark_on_light"]: ...


class DecodedImages(NamedTuple):
    """Images as the model takes them.

    A NamedTuple, as a frozen dataclass costs three times as much to make, once a request.

    Args:
        images: uint8 (n, channels, height, width); for a model of rows, float32 (n, n_columns).
        resized: whether any of them came in another size.
    """

    images: npt.NDArray[Any]
    resized: bool
