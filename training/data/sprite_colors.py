"""dSprites in color and on noise: the sprites of `sprites.py` with something added by index.

`color-dsprites` and `noisy-dsprites` are made as in arXiv 1811.12359, appendix: a random RGB value
in [0.5, 1] an image, and uniform noise under a white sprite; neither is a factor. In
`color-oval-dsprites` the color is one: its hue goes from red to violet and does not close its
circle, so one latent dimension can hold it.
"""

import hashlib
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from training.data.ground_truth import GroundTruth
from training.data.procedural import rgb_of_hue, spaced, uniform_of
from training.data.sprites import FACTORS, Sprites

N_HUES = 16
LAST_HUE = 0.78  # violet, in turns
DARKEST = 0.5
NOISE_BANK = 1 << 20
_COLOR_STREAM, _NOISE_STREAM = 1, 2

_OVAL = FACTORS["oval-dsprites"]
COLOR_OVAL_FACTORS = GroundTruth(
    ("hue", *_OVAL.factor_names), (spaced(0, LAST_HUE, N_HUES), *_OVAL.factor_values)
)


class _OnSprites:
    """What the variants share: sprites below, three channels, a hash over both."""

    source = "procedural"
    version = 1
    sprites_name: ClassVar[str] = "dsprites"

    def __init__(self, name: str, *, size: int) -> None:
        self._sprites = Sprites(self.sprites_name, size=size)
        self.factors = self._sprites.factors
        self.name = self._sprites.name.replace(self.sprites_name, name)
        self.image_shape = (3, size, size)
        self.n_images = self.factors.n_images

    def sha256(self) -> str:
        """Hash of the sprites', the name and the version of what is added."""
        content = f"{self.name} {self.version} {self._sprites.sha256()}"
        return hashlib.sha256(content.encode()).hexdigest()


class ColorSprites(_OnSprites):
    """`color-dsprites`: each image has a color of its own, which is not a factor."""

    def images(self, indices: Tensor) -> Tensor:
        """(batch,) int64 -> (batch, 3, size, size): a sprite of one color on black."""
        colors = DARKEST + (1 - DARKEST) * uniform_of(indices, 3, stream=_COLOR_STREAM)
        return self._sprites.images(indices) * colors[:, :, None, None]


class NoisySprites(_OnSprites):
    """`noisy-dsprites`: a white sprite on uniform noise of three channels."""

    def __init__(self, name: str, *, size: int) -> None:
        super().__init__(name, size=size)
        self._length = 3 * size * size
        # One long strip of noise, of which each image shows a piece: a gather and no random numbers
        # at draw time.
        strip = np.random.default_rng(_NOISE_STREAM).random(
            NOISE_BANK + self._length, dtype=np.float32
        )
        self._pieces = torch.from_numpy(strip).unfold(0, self._length, 1)  # (bank + 1, length)

    def images(self, indices: Tensor) -> Tensor:
        """(batch,) int64 -> (batch, 3, size, size): min(sprite + noise, 1)."""
        starts = (uniform_of(indices, 1, stream=_NOISE_STREAM) * NOISE_BANK).long().squeeze(1)
        noise = self._pieces[starts.to(self._pieces.device)].to(indices.device)
        noise = noise.view(-1, *self.image_shape)  # (batch, 3, size, size)
        return (self._sprites.images(indices) + noise).clamp(max=1)


class ColorOvals(_OnSprites):
    """`color-oval-dsprites`: an ellipse whose hue is a factor of 16 values."""

    sprites_name = "oval-dsprites"

    def __init__(self, name: str, *, size: int) -> None:
        super().__init__(name, size=size)
        self.factors = COLOR_OVAL_FACTORS
        self._n_shapes, self.n_images = self.n_images, self.factors.n_images

    def images(self, indices: Tensor) -> Tensor:
        """(batch,) int64 -> (batch, 3, size, size)."""
        hues = torch.tensor(self.factors.factor_values[0], device=indices.device)
        colors = rgb_of_hue(hues[indices // self._n_shapes])  # (batch, 3)
        return self._sprites.images(indices % self._n_shapes) * colors[:, :, None, None]
