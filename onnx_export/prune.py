"""Exports the relevant dimensions only (`training/pruning.py`), with a report that fits them."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from onnx_export.errors import ExportError
from onnx_export.trained_run import TrainedRun
from training.checkpoint import LoadedRun
from training.data import ImageSource
from training.encoding import Encoded, encode_with_elbo, sample_indices
from training.evidence import quantiles
from training.networks import VAE
from training.pruning import prune_vae
from training.run_images import open_run_images

N_IMAGES = 2000


def prune_run(run: TrainedRun) -> tuple[TrainedRun, str]:
    """Keep the relevant dimensions, numbered anew in order of relevance.

    Returns:
        The smaller run, whose ELBO quantiles are those of the smaller model, and a paragraph on
        what the pruning cost and what still describes the model before.

    Raises:
        ExportError: no dimension is relevant.
        TrainingError: the training images are missing.
    """
    kept = list(run.report["relevant_dims"])
    if not kept:
        raise ExportError("pruning keeps the relevant dimensions: this run has none")
    means = torch.tensor([row["mu_mean"] for row in run.report["dims"]])
    vae = prune_vae(run.vae, kept, means=means)
    source = open_run_images(run.loaded)
    before, after = (_encode(model, source) for model in (run.vae, vae))
    report = _prune_report(run.report, kept, elbo=after.elbo)
    loaded: LoadedRun = replace(run.loaded, vae=vae, relevance=run.loaded.relevance[kept])
    losses = [float((-one.elbo - one.kl.sum(dim=1)).mean()) for one in (before, after)]
    sample = "image" if run.vectors is None else "row"
    sentence = (
        f"Pruned: of {len(means)} latent dimensions only the {len(kept)} relevant ones are left, "
        f"numbered anew; the others are fixed at their mean over the training {sample}s. The "
        f"reconstruction loss goes from {losses[0]:.2f} to {losses[1]:.2f} nats per {sample}. "
        "Votes, sensitivity, the words for each sweep, scores and pictures are those of the model "
        "before."
    )
    return replace(run, loaded=loaded, report=report, is_pruned=True), sentence


def pruned_before(facts: Mapping[str, Any]) -> str:
    """A paragraph on a run that `rfvae-train prune` made from another: `facts` as it left them."""
    dims = ", ".join(map(str, facts["dims"]))
    return (
        f"Pruned: made by `rfvae-train prune` from the run `{facts['run']}`. Of its "
        f"{facts['latent_dim']} latent dimensions {dims} are left, numbered anew; the others are "
        f"fixed at their mean. This loses {facts['share_lost']:.2%} of what the code explains of "
        f"{facts['n_images']:,} {facts['images']} samples."
    )


def _encode(vae: VAE, source: ImageSource) -> Encoded:
    return encode_with_elbo(vae, source, sample_indices(source.n_images, N_IMAGES, seed=0))


def _prune_report(report: Any, kept: Sequence[int], *, elbo: Tensor) -> dict[str, Any]:
    rows = [{**report["dims"][dim], "dim": index} for index, dim in enumerate(kept)]
    return {
        **report,
        "dims": rows,
        "relevant_dims": list(range(len(kept))),
        "n_relevant": len(kept),
        "disagreements": _renumbered(report["disagreements"], kept),
        "elbo_quantiles": quantiles(elbo),
    }


def _renumbered(disagreements: Sequence[str], kept: Sequence[int]) -> list[str]:
    """Those on the kept dimensions, in their new order and with their new numbers."""
    beginnings = {f"dimension {dim} ": f"dimension {index} " for index, dim in enumerate(kept)}
    return [
        new + sentence.removeprefix(old)
        for old, new in beginnings.items()
        for sentence in disagreements
        if sentence.startswith(old)
    ]
