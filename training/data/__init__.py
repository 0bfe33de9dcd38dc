"""Images by index. `open_images` is the one way in; every source has the same few members."""

from typing import Protocol

from torch import Tensor

from training.config import DataConfig
from training.data.dsprites_file import DspritesFile
from training.data.ground_truth import GroundTruth
from training.data.sprites import FACTORS, Sprites
from training.errors import DataError

__all__ = ["PROCEDURAL", "GroundTruth", "ImageSource", "open_images"]

PROCEDURAL = FACTORS


class ImageSource(Protocol):
    """A set of images that can be asked for by index."""

    @property
    def name(self) -> str:
        """Name of the set; another rendering has another name."""
        ...

    @property
    def source(self) -> str:
        """`procedural` (drawn here) or `file` (read)."""
        ...

    @property
    def n_images(self) -> int:
        """Number of images."""
        ...

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(channels, height, width)."""
        ...

    @property
    def factors(self) -> GroundTruth | None:
        """The grid behind the images, or None where it is unknown."""
        ...

    def sha256(self) -> str:
        """Hash that changes when the images do."""
        ...

    def images(self, indices: Tensor) -> Tensor:
        """(batch,) int64 -> (batch, channels, height, width) float32 in [0, 1]."""
        ...


def open_images(config: DataConfig) -> ImageSource:
    """Open the set that `config` names.

    Raises:
        DataError: The name is unknown, or the file is not what the name promises.
    """
    if config.name not in PROCEDURAL:
        raise DataError(
            f"`data.name` must be one of {', '.join(PROCEDURAL)}: got `{config.name}`; "
            "see `rfvae-train datasets`"
        )
    if config.path is None:
        return Sprites(config.name, size=config.size)
    images = DspritesFile(config.name, path=config.path)
    if images.image_shape[1:] != (config.size, config.size):
        raise DataError(
            f"`data.size` is {config.size} and `{config.path}` holds images of "
            f"{images.image_shape[1:]}; set `data.size` to the file's"
        )
    return images
