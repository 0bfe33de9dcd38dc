"""What the decoder makes of each latent dimension, without labels."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from training.metrics.inputs import Floats

_STEP = 5e-4  # prior standard deviations, either way
Decode = Callable[[Tensor], Tensor]


@torch.no_grad()
def decoder_sensitivity(decode: Decode, latents: Tensor, *, variances: Tensor) -> Floats:
    """Var(mu_j) · sum_pixels (mean_images |d decoder / d z_j|)² (ARD-VAE, arXiv 2501.10901).

    How much of the images' change a dimension can account for to first order: slope times spread.
    The slope is a central difference, over a thousandth of a prior standard deviation.

    Args:
        decode: (batch, latent_dim) to images in [0, 1].
        latents: (batch, latent_dim), where the slope is taken; ARD-VAE uses 100 images.
        variances: (latent_dim,), variance of mu over the training images.

    Returns:
        (latent_dim,), squared pixel values, >= 0.
    """
    rows = []
    for dim in range(latents.shape[1]):
        step = torch.zeros(latents.shape[1])
        step[dim] = _STEP
        slope = (decode(latents + step) - decode(latents - step)) / (2 * _STEP)
        rows.append(slope.abs().mean(dim=0).square().sum())
    return (variances * torch.stack(rows)).double().numpy()


@torch.no_grad()
def traversal_effect(
    decode: Decode, latents: Tensor, *, low: Tensor, high: Tensor, steps: int = 9
) -> Floats:
    """Pixels that a dimension changes when it is swept from `low` to `high`, or columns.

    The largest minus the smallest value that each pixel takes on the way (the ends alone miss a
    factor that repeats, such as an ellipse's turn), summed over pixels, mean over channels and
    images; of rows of numbers, summed over columns.

    Args:
        decode: (batch, latent_dim) to images in [0, 1], or to rows.
        latents: (batch, latent_dim), the images whose dimension is swept.
        low: (latent_dim,), start of the sweep, usually the 1 % quantile of mu.
        high: (latent_dim,), its end.
        steps: Frames of a sweep.

    Returns:
        (latent_dim,), pixels, in [0, height * width]; or the unit of the columns.
    """
    effects = []
    for dim in range(latents.shape[1]):
        frames = torch.stack([decode(row) for row in _sweep(latents, dim, low, high, steps)])
        change = frames.amax(dim=0) - frames.amin(dim=0)  # (batch, channels, height, width)
        over = (0, 1) if change.ndim == 4 else (0,)  # (batch, n_columns) has no channels
        effects.append(change.mean(dim=over).sum().item())
    return np.array(effects)


def _sweep(latents: Tensor, dim: int, low: Tensor, high: Tensor, steps: int) -> list[Tensor]:
    rows = []
    for share in np.linspace(0, 1, steps):
        row = latents.clone()
        row[:, dim] = low[dim] + float(share) * (high[dim] - low[dim])
        rows.append(row)
    return rows
