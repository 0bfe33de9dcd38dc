"""Rows of numbers with a known answer: x = W z + noise, three factors in sixteen columns.

The columns of W are orthogonal and of different lengths, so the factors are the only axes along
which the posterior is independent, up to order and sign, and the information that x holds about
z_k is 0.5 ln(1 + |w_k|² / noise²) nats (probabilistic PCA). A model with more than three latent
dimensions must find three of them relevant.
"""

import hashlib

import numpy as np
import torch
from torch import Tensor

from training.data.factor_table import factor_table

N_ROWS = 20_000
N_COLUMNS = 16
LENGTHS = (3.0, 2.0, 1.2)
NOISE = 0.2
_SEED = 1902_01568


class LinearGaussian:
    """A vector source: `images` gives rows (batch, 16), not confined to [0, 1]."""

    source = "procedural"
    version = 1

    def __init__(self, name: str, *, size: int) -> None:
        self.name = name
        rng = np.random.default_rng(_SEED)
        axes, _ = np.linalg.qr(rng.standard_normal((N_COLUMNS, len(LENGTHS))))
        z = rng.standard_normal((N_ROWS, len(LENGTHS)))
        noise = NOISE * rng.standard_normal((N_ROWS, N_COLUMNS))
        self._rows = torch.from_numpy(z @ (axes * LENGTHS).T + noise).float()
        self.factors = factor_table([f"z{k}" for k in range(len(LENGTHS))], z)
        self.image_shape = (N_COLUMNS,)
        self.n_images = N_ROWS

    def sha256(self) -> str:
        """Hash of the constants that decide the rows."""
        content = f"{self.name} {self.version} {N_ROWS} {N_COLUMNS} {LENGTHS} {NOISE} {_SEED}"
        return hashlib.sha256(content.encode()).hexdigest()

    def images(self, indices: Tensor) -> Tensor:
        """(batch,) int64 -> (batch, 16) float32."""
        if self._rows.device != indices.device:
            self._rows = self._rows.to(indices.device)
        return self._rows[indices]
