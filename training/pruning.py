"""A smaller model of the relevant dimensions only; the nuisance ones stay at their training mean.

decoder(z) with z_j = mean_j for every nuisance j is a first layer with fewer columns and another
bias: W z + b = W_r z_r + (b + W_n mean_n). The encoder's last layer keeps the rows of the relevant
dimensions. So the small model is exact for such latents and does less work.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from training.data import ImageSource
from training.encoding import BATCH_SIZE, reconstruct
from training.networks import VAE
from training.objective import elbo, kl_per_dim

LEAST_PIXEL = 1e-4  # of a mean image: a pixel that is black in all images has no finite logit


@dataclass(frozen=True)
class Quality:
    """What a model makes of a sample of images, reconstructed from mu.

    Attributes:
        reconstruction_loss: Nats per image.
        elbo: Nats per image, KL weights of 1.
        absolute_error: Mean over pixels (or columns) and images.
    """

    reconstruction_loss: float
    elbo: float
    absolute_error: float


@dataclass(frozen=True)
class PruningLoss:
    """What the reconstructions lose.

    Attributes:
        before: Of the full model.
        after: Of the pruned one.
        blind_loss: Nats per image that the mean of the images costs as the reconstruction of all,
            the best that a model without a code can do.
    """

    before: Quality
    after: Quality
    blind_loss: float

    @property
    def share(self) -> float:
        """The part of what the code explains that is lost: 0 nothing, 1 all; below 0 a gain.

        A share of the reconstruction loss itself would hang on constants: its least value is not 0.
        """
        lost = self.after.reconstruction_loss - self.before.reconstruction_loss
        explained = self.blind_loss - self.before.reconstruction_loss
        if explained > 0:
            return lost / explained
        return 0.0 if lost <= 0 else 1.0


def prune_vae(vae: VAE, kept: Sequence[int], *, means: Tensor) -> VAE:
    """Fold the fixed dimensions into the layers next to the code.

    Args:
        vae: Left as it is.
        kept: The dimensions to keep, in their new order.
        means: (latent_dim,), the values at which all others are fixed.
    """
    pruned = copy.deepcopy(vae)
    dims = torch.tensor(kept)
    fixed = torch.ones(vae.latent_dim, dtype=torch.bool)
    fixed[dims] = False
    head, first = pruned.mu_head(), pruned.decoder_input()
    weight, bias = first.weight.double(), first.bias.double()
    shifted = bias + weight[:, fixed] @ means.double()[fixed]  # (hidden_units,)
    _set(first, weight[:, dims], shifted)
    rows = torch.cat([dims, dims + vae.latent_dim])  # mu, then logvar
    _set(head, head.weight[rows], head.bias[rows])
    pruned.latent_dim = len(kept)
    return pruned


def measure_pruning(vae: VAE, pruned: VAE, source: ImageSource, *, indices: Tensor) -> PruningLoss:
    """Reconstruct the images at `indices` with both models.

    Args:
        vae: The full model.
        pruned: What `prune_vae` made of it.
        source: The images.
        indices: (n,) which of them.
    """
    return PruningLoss(
        before=_quality(vae, source, indices),
        after=_quality(pruned, source, indices),
        blind_loss=_blind_loss(vae, source, indices),
    )


@torch.no_grad()
def _quality(vae: VAE, source: ImageSource, indices: Tensor) -> Quality:
    sums = torch.zeros(3, dtype=torch.float64)
    for batch in reconstruct(vae, source, indices):
        bound = elbo(batch.loss, kl_per_dim(batch.mu, batch.logvar))  # (batch,)
        difference = vae.likelihood.mean(batch.output) - batch.images
        error = difference.abs().flatten(1).mean(dim=1)  # (batch,)
        sums += torch.stack([part.double().sum() for part in (batch.loss, bound, error)])
    return Quality(*(sums / len(indices)).tolist())


@torch.no_grad()
def _blind_loss(vae: VAE, source: ImageSource, indices: Tensor) -> float:
    batches = torch.split(indices, BATCH_SIZE)
    mean = sum(source.images(batch).double().sum(dim=0) for batch in batches) / len(indices)
    assert isinstance(mean, Tensor)
    output = _output_of(mean, is_image=len(vae.image_shape) == 3).float()  # (*image_shape)
    total = 0.0
    for batch in batches:
        images = source.images(batch)
        losses = vae.likelihood.reconstruction_loss(output.expand_as(images), images)
        total += float(losses.double().sum())
    return total / len(indices)


def _output_of(mean: Tensor, *, is_image: bool) -> Tensor:
    """What the decoder would have to give for this mean: its logit for pixels."""
    return mean.clamp(LEAST_PIXEL, 1 - LEAST_PIXEL).logit() if is_image else mean


def _set(layer: nn.Linear, weight: Tensor, bias: Tensor) -> None:
    layer.weight = nn.Parameter(weight.float(), requires_grad=False)
    layer.bias = nn.Parameter(bias.float(), requires_grad=False)
    layer.out_features, layer.in_features = weight.shape
