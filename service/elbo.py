"""The evidence lower bound of one image, to say how unusual it is (arXiv 1312.6114, equation 3)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from service.latent import kl_per_dim

# Keeps the logarithm finite where a decoder is certain and wrong: 16 nats a pixel at most.
PROBABILITY_FLOOR = np.float32(1e-7)
# As many as a core's own cache holds with their temporaries; a third faster than a whole batch.
BLOCK_PIXELS = 2**16
LOG_GROUP = 32  # of floors have a product of 1e-224: far from the least float64

Samples = npt.NDArray[Any]  # uint8 images, or rows of numbers
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Likelihood:
    """What the decoder says of a sample.

    Args:
        name: Bernoulli pixels, or a Gaussian around the decoded sample.
        scale: standard deviation of the Gaussian: of pixels in [0, 1], or of columns in units of
            `column_scale`.
        column_scale: (n_columns,) of a model of rows; None for images.
    """

    name: Literal["bernoulli", "gaussian"]
    scale: float = 1.0
    column_scale: npt.NDArray[np.float64] | None = None


def elbo(
    images: Samples, decoded: Floats, *, mu: Floats, logvar: Floats, likelihood: Likelihood
) -> npt.NDArray[np.float64]:
    """ELBO = -reconstruction loss - sum_j KL_j, decoded at z = mu and with unweighted KL.

    Args:
        images: (batch, channels, height, width), or rows (batch, n_columns).
        decoded: same shape; images in [0, 1], rows in the units of `images`.
        mu: (batch, latent_dim); `logvar` likewise.

    Returns:
        (batch,) nats per image.
    """
    kl = kl_per_dim(mu.astype(np.float64), logvar.astype(np.float64)).sum(axis=1)  # (batch,)
    return np.asarray(-reconstruction_loss(images, decoded, likelihood) - kl)


def reconstruction_loss(
    images: Samples, decoded: Floats, likelihood: Likelihood
) -> npt.NDArray[np.float64]:
    """-ln p(x|z) of each image: float64 (batch,), nats.

    bernoulli: -sum [x ln p + (1 - x) ln(1 - p)]; gaussian: sum [(x - m)² / (2 s²) + ln s], the
    constant ln(2 pi) / 2 left out, as in training.
    """
    if likelihood.name == "gaussian":
        return _gaussian(images, decoded, likelihood)
    rows = max(1, BLOCK_PIXELS // max(1, decoded[:1].size))
    blocks = [
        _bernoulli(images[start : start + rows], decoded[start : start + rows])
        for start in range(0, len(images), rows)
    ]
    return np.concatenate(blocks) if blocks else np.empty(0)


def _bernoulli(images: Samples, decoded: Floats) -> npt.NDArray[np.float64]:
    x = _pixels(images)
    p = decoded.reshape(len(decoded), -1)  # (batch, pixels)
    # In float32, which is three times as fast; 1 - p is exact where it is small. Floors are arrays
    # as numpy has no fast way for the maximum with a number.
    floor = np.full_like(p[:1], PROBABILITY_FLOOR)
    absent = np.maximum(np.float32(1) - p, floor)
    odds = np.maximum(p, floor)
    odds /= absent
    # x ln p + (1 - x) ln(1 - p) = x ln(odds) + ln(1 - p): one logarithm a pixel, of its odds
    return np.asarray(-(np.vecdot(x, np.log(odds, out=odds)) + _sum_of_logs(absent)))


def _sum_of_logs(values: Floats) -> npt.NDArray[np.float64]:
    """Of each row, (n, m) to (n,): the logarithm of products, since one costs as much as 30 times.

    Values must not be below `PROBABILITY_FLOOR`.
    """
    n, m = values.shape
    whole = m // LOG_GROUP * LOG_GROUP
    groups = values[:, :whole].reshape(n, LOG_GROUP, -1)
    products = np.multiply.reduce(groups, axis=1, dtype=np.float64)  # (n, m // LOG_GROUP)
    rest = values[:, whole:].astype(np.float64)
    return np.asarray(np.log(products).sum(axis=1) + np.log(rest).sum(axis=1))


def _gaussian(images: Samples, decoded: Floats, likelihood: Likelihood) -> npt.NDArray[np.float64]:
    errors: npt.NDArray[Any]  # (batch, pixels) or (batch, n_columns)
    if likelihood.column_scale is None:
        errors = _pixels(images) - decoded.reshape(len(decoded), -1)
    else:
        errors = (images.astype(np.float64) - decoded) / likelihood.column_scale
    constant = errors.shape[1] * math.log(likelihood.scale)
    squares = _sum(np.square(errors)) / (2 * likelihood.scale**2)
    return np.asarray(squares + constant)


def _pixels(images: Samples) -> Floats:
    """uint8 to [0, 1], (batch, pixels)."""
    pixels: Floats = images.reshape(len(images), -1) * np.float32(1 / 255)
    return pixels


def _sum(terms: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    total: npt.NDArray[np.float64] = terms.sum(axis=1, dtype=np.float64)
    return total
