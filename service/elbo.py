"""The evidence lower bound of one image, to say how unusual it is (arXiv 1312.6114, equation 3)."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from service.latent import kl_per_dim

# Keeps the logarithm finite where a decoder is certain and wrong: 16 nats a pixel at most.
PROBABILITY_FLOOR = np.float32(1e-7)


def elbo(
    images: npt.NDArray[np.uint8],
    decoded: npt.NDArray[np.float32],
    *,
    mu: npt.NDArray[np.float32],
    logvar: npt.NDArray[np.float32],
    likelihood: Literal["bernoulli", "gaussian"],
) -> npt.NDArray[np.float64]:
    """ELBO = -reconstruction loss - sum_j KL_j, decoded at z = mu and with unweighted KL.

    Args:
        images: (batch, channels, height, width).
        decoded: same shape, in [0, 1].
        mu: (batch, latent_dim); `logvar` likewise.

    Returns:
        (batch,) nats per image.
    """
    kl = kl_per_dim(mu.astype(np.float64), logvar.astype(np.float64)).sum(axis=1)  # (batch,)
    return np.asarray(-reconstruction_loss(images, decoded, likelihood=likelihood) - kl)


def reconstruction_loss(
    images: npt.NDArray[np.uint8],
    decoded: npt.NDArray[np.float32],
    *,
    likelihood: Literal["bernoulli", "gaussian"],
) -> npt.NDArray[np.float64]:
    """-ln p(x|z) of each image: float64 (batch,), nats.

    bernoulli: -sum [x ln p + (1 - x) ln(1 - p)]; gaussian: sum (x - p)² / 2, the constant left out.
    """
    x = images.reshape(len(images), -1) * np.float32(1 / 255)  # (batch, pixels)
    p = decoded.reshape(len(decoded), -1)  # (batch, pixels)
    if likelihood == "gaussian":
        return _sum(np.square(x - p)) / 2
    # In place and in float32, which is three times as fast; 1 - p is exact where it is small.
    absent = np.log(np.maximum(1 - p, PROBABILITY_FLOOR))
    terms = np.log(np.maximum(p, PROBABILITY_FLOOR))
    terms -= absent
    terms *= x
    terms += absent  # x ln p + (1 - x) ln(1 - p)
    return -_sum(terms)


def _sum(terms: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    total: npt.NDArray[np.float64] = terms.sum(axis=1, dtype=np.float64)
    return total
