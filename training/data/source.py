"""What every set of images gives, drawn or read."""

from typing import Protocol

from torch import Tensor

from training.data.factor_table import FactorTable
from training.data.ground_truth import GroundTruth

Factors = GroundTruth | FactorTable


class ImageSource(Protocol):
    """A set of images, or of vectors, that can be asked for by index."""

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
