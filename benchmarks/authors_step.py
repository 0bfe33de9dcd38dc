"""The two sides of `training_step`: the algorithm of the RF-VAE authors written plainly, and ours.

Plainly means: networks in PyTorch's default layout, one Adam for VAE and relevance, one for the
discriminator, no freezing and no detaching but of the permuted codes, as in arXiv 1902.01568.
"""

import itertools
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from training.config import Config, DiscriminatorConfig
from training.data import open_images
from training.fit import SCALARS, new_state, train_step
from training.state import STREAMS

N_IMAGES, BATCH = 2048, 64
LOSS, DISCRIMINATOR_LOSS = SCALARS.index("loss"), SCALARS.index("discriminator_loss")


class MemoryImages:
    """Some images of Oval-dSprites, drawn beforehand: drawing is no part of a step."""

    name, source, n_images, image_shape, factors = "oval", "procedural", N_IMAGES, (1, 64, 64), None

    def __init__(self) -> None:
        images = open_images(Config().data)
        order = torch.randperm(images.n_images, generator=Generator().manual_seed(0))
        # In batches, so that the peak of memory is that of the steps and not of the drawing.
        batches = order[:N_IMAGES].split(BATCH)
        self._images = torch.cat([images.images(batch) for batch in batches])

    def sha256(self) -> str:
        """Not asked for here."""
        return ""

    def images(self, indices: Tensor) -> Tensor:
        """(batch,) -> (batch, 1, 64, 64)."""
        return self._images[indices]


class OursTraining:
    """The package's step with the paper's constants."""

    def __init__(self, precision: Literal["auto", "float32"] = "auto") -> None:
        self.config = Config(discriminator=DiscriminatorConfig(precision=precision))
        self.images = MemoryImages()
        self.state = new_state(self.config, self.images.image_shape, device=torch.device("cpu"))

    def step(self) -> None:
        """One step."""
        train_step(self.state, self.images, config=self.config)

    def losses(self) -> tuple[float, float]:
        """One step; the losses of the VAE and of the discriminator."""
        self.state.sums.zero_()
        self.step()
        return float(self.state.sums[LOSS]), float(self.state.sums[DISCRIMINATOR_LOSS])


class AuthorsTraining:
    """The same in the authors' way."""

    def __init__(self) -> None:
        self.images = MemoryImages()
        self.encoder, self.decoder, self.discriminator = encoder(), decoder(), discriminator()
        self.logits = nn.Parameter(0.001 * torch.randn(10))
        vae = [*self.encoder.parameters(), *self.decoder.parameters(), self.logits]
        self.vae_optimizer = torch.optim.Adam(vae, lr=1e-4, betas=(0.9, 0.999))
        self.discriminator_optimizer = torch.optim.Adam(
            self.discriminator.parameters(), lr=1e-4, betas=(0.5, 0.9)
        )
        self.generators = {name: Generator().manual_seed(1) for name in STREAMS}

    def copy_from(self, ours: OursTraining) -> None:
        """Take over weights and randomness, so that both see the same."""
        state = ours.state
        self.encoder.load_state_dict(state.vae.encoder.state_dict())
        self.decoder.load_state_dict(state.vae.decoder.state_dict())
        self.discriminator.load_state_dict(state.discriminator.layers.state_dict())
        with torch.no_grad():
            self.logits.copy_(state.gate.relevance_logits)
        for name, generator in self.generators.items():
            generator.set_state(state.generators[name].get_state())

    def step(self) -> None:
        """One step."""
        self._step()

    def losses(self) -> tuple[float, float]:
        """One step; the losses of the VAE and of the discriminator."""
        vae_loss, discriminator_loss = self._step()
        return float(vae_loss.detach()), float(discriminator_loss.detach())

    def _step(self) -> tuple[Tensor, Tensor]:
        images = self._batch()
        mu, logvar = self.encoder(images).chunk(2, dim=1)
        std = logvar.exp().sqrt()
        relevance = self.logits.sigmoid()
        kl = -0.5 * (1 + logvar - mu**2 - std**2)  # (batch, latent_dim)
        weighted_kl = ((10 - 9.9 * relevance) * kl).sum(1).mean()
        z = mu + self._noise(mu) * std
        reconstruction = F.binary_cross_entropy_with_logits(
            self.decoder(z), images, reduction="sum"
        ).div(len(images))
        answer = self.discriminator(relevance * z)
        tc = (answer[:, 0] - answer[:, 1]).mean()
        entropy = F.binary_cross_entropy_with_logits(self.logits, relevance, reduction="sum")
        vae_loss = reconstruction + weighted_kl + 35 * tc + relevance.sum() + 100 * entropy
        self.vae_optimizer.zero_grad()
        vae_loss.backward()  # type: ignore[no-untyped-call]
        self.vae_optimizer.step()
        return vae_loss, self._discriminator_step()

    def _discriminator_step(self) -> Tensor:
        images = self._batch()
        mu, logvar = self.encoder(images).chunk(2, dim=1)
        z = mu + self._noise(mu) * logvar.exp().sqrt()
        relevant_z = self.logits.sigmoid() * z
        permuted_z = self._permuted(relevant_z).detach()
        zeros = torch.zeros(len(z), dtype=torch.long)
        ones = torch.ones(len(z), dtype=torch.long)
        loss = 0.5 * (
            F.cross_entropy(self.discriminator(relevant_z), zeros)
            + F.cross_entropy(self.discriminator(permuted_z), ones)
        )
        self.discriminator_optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self.discriminator_optimizer.step()
        return loss

    def _batch(self) -> Tensor:
        indices = torch.randint(N_IMAGES, (BATCH,), generator=self.generators["batches"])
        return self.images.images(indices)

    def _noise(self, mu: Tensor) -> Tensor:
        return torch.empty_like(mu).normal_(generator=self.generators["noise"])

    def _permuted(self, z: Tensor) -> Tensor:
        order = torch.rand(z.shape, generator=self.generators["permutations"]).argsort(dim=0)
        columns = [
            column[index] for column, index in zip(z.unbind(1), order.unbind(1), strict=True)
        ]
        return torch.stack(columns, dim=1)


def encoder() -> nn.Sequential:
    """Images -> mu and logvar, (batch, 20)."""
    layers: list[nn.Module] = []
    for inner, outer in ((1, 32), (32, 32), (32, 64), (64, 64)):
        layers += [nn.Conv2d(inner, outer, 4, stride=2, padding=1), nn.ReLU()]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(1024, 128), nn.ReLU(), nn.Linear(128, 20))


def decoder() -> nn.Sequential:
    """z -> logits, (batch, 1, 64, 64)."""
    layers: list[nn.Module] = []
    for inner, outer in ((64, 64), (64, 32), (32, 32), (32, 1)):
        layers += [nn.ReLU(), nn.ConvTranspose2d(inner, outer, 4, stride=2, padding=1)]
    return nn.Sequential(
        nn.Linear(10, 128), nn.ReLU(), nn.Linear(128, 1024), nn.Unflatten(1, (64, 4, 4)), *layers
    )


def discriminator() -> nn.Sequential:
    """Codes -> two logits."""
    widths = [10, *[1000] * 5]
    layers: list[nn.Module] = []
    for inner, outer in itertools.pairwise(widths):
        layers += [nn.Linear(inner, outer), nn.LeakyReLU(0.2)]
    return nn.Sequential(*layers, nn.Linear(1000, 2))
