"""Whether drawings are light on dark or dark on light."""

from typing import Literal

import torch
from torch import Tensor


def polarity_of(images: Tensor) -> Literal["light_on_dark", "dark_on_light"]:
    """By the brightness of the border pixels, which show the background.

    Args:
        images: (batch, channels, height, width), in [0, 1].
    """
    edges = (images[..., 0, :], images[..., -1, :], images[..., 0], images[..., -1])
    brightness = float(torch.cat([edge.flatten() for edge in edges]).mean())
    return "light_on_dark" if brightness < 0.5 else "dark_on_light"
