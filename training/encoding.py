"""Images to codes, in batches: what evaluation and the relevance report look at."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from training.data import ImageSource
from training.errors import RunError
from training.networks import VAE
from training.objective import elbo, kl_per_dim

BATCH_SIZE = 256


@dataclass(frozen=True)
class Encoded:
    """The posteriors of a sample of images.

    Attributes:
        indices: (n,) which images.
        mu: (n, latent_dim).
        logvar: (n, latent_dim).
        kl: (n, latent_dim), nats.
        elbo: (n,), nats per image, KL weights of 1, reconstructed from mu. Without the noise of a
            sampled z anyone who has encoder and decoder gets the same number for the same image.
    """

    indices: Tensor
    mu: Tensor
    logvar: Tensor
    kl: Tensor
    elbo: Tensor


def sample_indices(n_images: int, n: int, *, seed: int) -> Tensor:
    """At most `n` different image numbers in ascending order; all of them if there are fewer."""
    if n_images <= n:
        return torch.arange(n_images)
    picked = np.random.default_rng(seed).choice(n_images, size=n, replace=False, shuffle=False)
    return torch.from_numpy(np.sort(picked))


@torch.no_grad()
def encode_means(vae: VAE, source: ImageSource, indices: Tensor) -> Tensor:
    """Posterior means of the images at `indices`: (n,) to (n, latent_dim)."""
    batches = torch.split(indices, BATCH_SIZE)
    return torch.cat([vae.encode(source.images(batch))[0] for batch in batches])


@dataclass(frozen=True)
class Reconstructed:
    """A batch of images through encoder and decoder, without the noise of a sampled z.

    Attributes:
        images: (batch, *image_shape).
        mu: (batch, latent_dim).
        logvar: (batch, latent_dim).
        output: (batch, *image_shape), what the likelihood reads.
        loss: (batch,), -ln p(image | mu), nats.
    """

    images: Tensor
    mu: Tensor
    logvar: Tensor
    output: Tensor
    loss: Tensor


@torch.no_grad()
def reconstruct(vae: VAE, source: ImageSource, indices: Tensor) -> Iterator[Reconstructed]:
    """Encode and decode the images at `indices`, (n,), batch by batch."""
    for batch in torch.split(indices, BATCH_SIZE):
        images = source.images(batch)
        mu, logvar = vae.encode(images)
        output = vae.decode_logits(mu)
        loss = vae.likelihood.reconstruction_loss(output, images)
        yield Reconstructed(images, mu, logvar, output, loss)


@torch.no_grad()
def encode_with_elbo(vae: VAE, source: ImageSource, indices: Tensor) -> Encoded:
    """Encode the images at `indices` and score each reconstruction.

    Raises:
        RunError: The model gives numbers that are not finite.
    """
    parts = []
    for batch in reconstruct(vae, source, indices):
        kl = kl_per_dim(batch.mu, batch.logvar)  # (batch, latent_dim)
        parts.append((batch.mu, batch.logvar, kl, elbo(batch.loss, kl)))
    mu, logvar, kl, bound = (torch.cat(tensors) for tensors in zip(*parts, strict=True))
    finite = torch.isfinite(bound) & torch.isfinite(mu).all(dim=1)
    if not finite.all():
        raise RunError(
            f"the model must give finite numbers: it does not for {int((~finite).sum())} of "
            f"{len(indices)} samples of `{source.name}`; it diverged, or they are far from what it "
            "learned: train again with a lower `optimizer.learning_rate`, and rows of numbers with "
            "`data.standardize`"
        )
    return Encoded(indices, mu=mu, logvar=logvar, kl=kl, elbo=bound)


@dataclass(frozen=True)
class ReconstructionLoss:
    """Of images decoded from their posterior means, averaged over images.

    Attributes:
        nats: -ln p(image | mu), per image.
        squared: Mean squared difference of a value; pixels are in [0, 1].
    """

    nats: float
    squared: float


@torch.no_grad()
def measure_reconstruction(vae: VAE, source: ImageSource, indices: Tensor) -> ReconstructionLoss:
    """Encode and decode the images at `indices`, (n,), and compare."""
    nats, squared = [], []
    for batch in reconstruct(vae, source, indices):
        nats.append(batch.loss)
        difference = vae.likelihood.mean(batch.output) - batch.images
        squared.append(difference.square().flatten(1).mean(dim=1))
    return ReconstructionLoss(float(torch.cat(nats).mean()), float(torch.cat(squared).mean()))


class MeanTable:
    """Posterior means by image number, each encoded once, however often it is asked for.

    Only what was asked for takes memory: a drawn set may have hundreds of millions of images.
    """

    def __init__(self, vae: VAE, source: ImageSource) -> None:
        self._vae, self._source = vae, source
        self._rows: dict[int, int] = {}  # image number to row of `_mu`
        self._mu = np.empty((BATCH_SIZE, vae.latent_dim), dtype=np.float32)

    def __call__(self, indices: NDArray[np.int64]) -> NDArray[np.float64]:
        """Image numbers (n,) to mu (n, latent_dim)."""
        unknown = [index for index in np.unique(indices).tolist() if index not in self._rows]
        if unknown:
            mu = encode_means(self._vae, self._source, torch.tensor(unknown))
            self._append(unknown, mu.numpy())
        return self._mu[[self._rows[index] for index in indices.tolist()]].astype(np.float64)

    def _append(self, indices: list[int], mu: NDArray[np.float32]) -> None:
        start = len(self._rows)
        end = start + len(indices)
        if end > len(self._mu):
            spare = np.empty((max(end, 2 * len(self._mu)), self._mu.shape[1]), dtype=np.float32)
            spare[:start] = self._mu[:start]
            self._mu = spare
        self._mu[start:end] = mu
        self._rows.update(zip(indices, range(start, end), strict=True))

    @property
    def n_encoded(self) -> int:
        """Images that were encoded so far."""
        return len(self._rows)
