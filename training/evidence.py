"""What a sample of images tells about each latent dimension, and how it stands in `report.json`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from training.data import ImageSource
from training.encoding import Encoded
from training.metrics.aggregate_posterior import dimension_information
from training.metrics.column_effects import column_effects, column_spread
from training.metrics.decoder_effects import Decode, decoder_sensitivity, traversal_effect
from training.networks import VAE
from training.relevance_votes import KL_NATS, Evidence, is_relevant, votes_of

SENSITIVITY_IMAGES = 100  # as ARD-VAE (arXiv 2501.10901)
TRAVERSAL_IMAGES = 25
PERCENTS = (1, 5, 25, 50, 75, 95, 99)


@dataclass(frozen=True)
class MeasuredDecoder:
    """The decoder in the units of the votes.

    Attributes:
        decode: Pixels in [0, 1]; columns, which have any unit, in their standard deviations.
        n_pixels: Of an image.
    """

    decode: Decode
    n_pixels: int | None


def measured_decoder(vae: VAE, encoded: Encoded, source: ImageSource) -> MeasuredDecoder:
    """Of a model in evaluation mode on the CPU; `encoded` is a sample of `source`."""
    if len(vae.image_shape) == 3:
        return MeasuredDecoder(vae.decode, vae.image_shape[1] * vae.image_shape[2])
    spread = column_spread(source.images(encoded.indices))
    return MeasuredDecoder(lambda z: vae.decode(z) / spread, None)


def gather_evidence(
    decoder: MeasuredDecoder, encoded: Encoded, *, relevance: Tensor, gate_votes: bool, seed: int
) -> list[Evidence]:
    """All witnesses on every dimension.

    Args:
        decoder: The model's.
        encoded: A sample of images.
        relevance: (latent_dim,), in [0, 1].
        gate_votes: Whether the relevance says anything.
        seed: Of the information estimate.
    """
    variances = encoded.mu.var(dim=0, correction=0)  # (latent_dim,)
    low, high = _range(encoded)
    sensitivity = decoder_sensitivity(
        decoder.decode, _spread_rows(encoded.mu, SENSITIVITY_IMAGES), variances=variances
    )
    effects = traversal_effect(
        decoder.decode, _spread_rows(encoded.mu, TRAVERSAL_IMAGES), low=low, high=high
    )
    information = dimension_information(encoded.mu.numpy(), encoded.logvar.numpy(), seed=seed)
    total = float(sensitivity.sum())
    mean_kl = [float(column.mean()) for column in encoded.kl.unbind(dim=1)]  # (latent_dim,)
    return [
        Evidence(
            dim=dim,
            relevance=float(relevance[dim]),
            gate_votes=gate_votes,
            mean_kl=mean_kl[dim],
            active_variance=float(variances[dim]),
            decoder_sensitivity=float(sensitivity[dim]),
            sensitivity_share=float(sensitivity[dim]) / total if total else 0.0,
            traversal_effect=float(effects[dim]),
            n_pixels=decoder.n_pixels,
            mutual_information=float(information[dim]),
            sensitivity_votes=max(mean_kl) >= KL_NATS,
        )
        for dim in range(len(relevance))
    ]


def describe_evidence(evidence: Evidence, encoded: Encoded) -> dict[str, Any]:
    """One entry of the report's `dims`."""
    mu = encoded.mu[:, evidence.dim]
    return {
        "dim": evidence.dim,
        "relevance": evidence.relevance,
        "mean_kl": evidence.mean_kl,
        "active_variance": evidence.active_variance,
        "mu_mean": float(mu.mean()),
        "mu_std": float(mu.std(correction=0)),
        "mu_quantiles": quantiles(mu),
        "decoder_sensitivity": evidence.decoder_sensitivity,
        "sensitivity_share": evidence.sensitivity_share,
        "traversal_effect": evidence.traversal_effect,
        "mutual_information": evidence.mutual_information,
        "votes": votes_of(evidence),
        "relevant": is_relevant(evidence),
    }


def effects_on_columns(decoder: MeasuredDecoder, encoded: Encoded) -> list[list[float]]:
    """For each dimension, how its sweep moves each column of a model of rows.

    In standard deviations of the column, from the 1 % to the 99 % quantile of mu.
    """
    low, high = _range(encoded)
    latents = _spread_rows(encoded.mu, TRAVERSAL_IMAGES)
    found = column_effects(decoder.decode, latents, low=low, high=high)
    return [[float(value) for value in row] for row in found]


def quantiles(values: Tensor) -> dict[str, float]:
    """By percent, as in the report."""
    found = np.percentile(values.double().numpy(), PERCENTS)
    return {str(percent): float(value) for percent, value in zip(PERCENTS, found, strict=True)}


def _range(encoded: Encoded) -> tuple[Tensor, Tensor]:
    low, high = (torch.quantile(encoded.mu, q, dim=0) for q in (0.01, 0.99))
    return low, high


def _spread_rows(table: Tensor, n: int) -> Tensor:
    """`n` rows at equal distances, all of them if there are fewer."""
    rows = np.unique(np.linspace(0, len(table) - 1, n).astype(np.int64))
    return table[torch.from_numpy(rows)]
