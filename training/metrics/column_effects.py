"""What the decoder makes of each latent dimension, column by column of a row of numbers."""

from __future__ import annotations

import torch
from torch import Tensor

from training.metrics.decoder_effects import Decode
from training.metrics.inputs import Floats


def column_spread(rows: Tensor) -> Tensor:
    """Standard deviation of each column: (n, n_columns) to (n_columns,).

    Infinite where a column is constant: whatever a decoder does to it counts for nothing.
    """
    spread = rows.std(dim=0, correction=0)
    return torch.where(is_constant(rows), torch.inf, spread)


def is_constant(rows: Tensor) -> Tensor:
    """Whether all rows have the same number in a column: (n, n_columns) to (n_columns,).

    Not by the deviation, which for some numbers is a rounding error above 0.
    """
    return rows.amax(dim=0) == rows.amin(dim=0)


@torch.no_grad()
def column_effects(decode: Decode, latents: Tensor, *, low: Tensor, high: Tensor) -> Floats:
    """How far each column goes when a dimension goes from `low` to `high`, mean over the rows.

    Args:
        decode: (batch, latent_dim) to rows (batch, n_columns).
        latents: (batch, latent_dim), the rows whose dimension is moved.
        low: (latent_dim,), start of the sweep, usually the 1 % quantile of mu.
        high: (latent_dim,), its end.

    Returns:
        (latent_dim, n_columns), in the unit of the rows; below 0 where the column falls.
    """
    effects = []
    for dim in range(latents.shape[1]):
        ends = []
        for end in (low, high):
            moved = latents.clone()
            moved[:, dim] = end[dim]
            ends.append(decode(moved))
        effects.append((ends[1] - ends[0]).mean(dim=0))
    return torch.stack(effects).double().numpy()
