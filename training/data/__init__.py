"""Images by index. `open_images` is the one way in; every source has the same few members."""

from typing import Protocol

from torch import Tensor

from training.config import DataConfig
from training.data.catalog import DRAWN
from training.data.dsprites_file import DspritesFile
from training.data.factor_table import FactorTable
from training.data.ground_truth import GroundTruth
from training.errors import DataError

__all__ = ["DRAWN", "FactorTable", "Factors", "GroundTruth", "ImageSource", "open_images"]

Factors = GroundTruth | FactorTable


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
    def image_shape(self) -> tuple[int, ...]:
        """(channels, height, width), or (n_columns,) of a set of vectors."""
        ...

    @property
    def factors(self) -> Factors | None:
        """The grid or the table behind the images, or None where it is unknown."""
        ...

    def sha256(self) -> str:
        """Hash that changes when the images do."""
        ...

    def images(self, indices: Tensor) -> Tensor:
        """(batch,) int64 -> (batch, *image_shape) float32; images are in [0, 1]."""
        ...


def open_images(config: DataConfig) -> ImageSource:
    """Open the set that `config` names.

    Raises:
        DataError: The name is unknown, or the file is not what the name promises.
    """
    if config.name not in DRAWN:
        raise DataError(
            f"`data.name` must be one of {', '.join(DRAWN)}: got `{config.name}`; "
            "see `rfvae-train datasets`"
        )
    if config.path is None:
        images: ImageSource = DRAWN[config.name].make(config.name, size=config.size)
        return images
    images = DspritesFile(config.name, path=config.path)
    if images.image_shape[1:] != (config.size, config.size):
        raise DataError(
            f"`data.size` is {config.size} and `{config.path}` holds images of "
            f"{images.image_shape[1:]}; set `data.size` to the file's"
        )
    return images
