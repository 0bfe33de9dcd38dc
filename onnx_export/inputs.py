"""What the graphs are checked with: real images of the training data, and random ones.

For a model of rows, the images are rows of numbers in the data's own units, float32.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from onnx_export.errors import ExportError
from training.checkpoint import LoadedRun
from training.data.standardization import Standardization, standardization_of
from training.errors import TrainingError
from training.run_images import open_run_images

BATCHES = (1, 2, 7, 64)
SEED = 20190205  # any fixed number: the same export must see the same inputs

Samples = NDArray[Any]  # uint8 images, or float32 rows
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class CheckInputs:
    """One set of inputs with the word that messages use for it.

    Attributes:
        images: (batch, channels, height, width), or (batch, n_columns).
        latents: (batch, latent_dim), or None to decode the mu of `images`.
    """

    kind: str
    images: Samples
    latents: Floats | None


def random_inputs(
    image_shape: tuple[int, ...], latent_dim: int, vectors: Standardization | None = None
) -> CheckInputs:
    """Uniform pixels, or normal columns, and latents drawn from the prior."""
    rng = np.random.default_rng(SEED)
    size = max(BATCHES)
    images: Samples
    if vectors is None:
        images = rng.integers(0, 256, (size, *image_shape), dtype=np.uint8)
    else:
        rows = rng.standard_normal((size, *image_shape))
        images = (rows * vectors.scale + vectors.offset).astype(np.float32)
    latents = rng.standard_normal((size, latent_dim), dtype=np.float32)
    return CheckInputs("random", images, latents)


def real_inputs(loaded: LoadedRun) -> CheckInputs:
    """Images spread evenly over the training data; of a small set each comes more than once.

    Raises:
        ExportError: the data is not where the run found it, or no longer the same.
    """
    images = training_images(loaded, max(BATCHES))
    return CheckInputs("real", images[_spread(len(images), max(BATCHES))], None)


def training_images(loaded: LoadedRun, n: int) -> Samples:
    """`n` images at equal distances, (n, channels, height, width), or rows (n, n_columns).

    No image comes twice: of fewer than `n` these are all.

    Raises:
        ExportError: the data is not where the run found it, or no longer the same.
    """
    try:
        source = open_run_images(loaded)
    except (OSError, TrainingError) as error:
        raise ExportError(f"the training images are needed to check the graphs: {error}") from error
    indices = np.unique(_spread(source.n_images, n))
    images = source.images(torch.from_numpy(indices))  # (n, channels, height, width)
    if vectors := standardization_of(source):
        return vectors.restored(images).astype(np.float32)
    pixels: Samples = (images.numpy() * 255).round().astype(np.uint8)
    return pixels


def _spread(length: int, n: int) -> NDArray[np.int64]:
    """`n` of the numbers below `length` at equal distances."""
    return np.linspace(0, length - 1, n).round().astype(np.int64)
