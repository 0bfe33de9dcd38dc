"""`rfvae-train prune`: a run folder of a smaller model, and what the reconstructions lose by it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from rich import box
from rich.console import Console
from rich.table import Table

from training.checkpoint import LoadedRun, load_model, write_checkpoint
from training.config import Config
from training.config_file import config_toml
from training.data import held_out_part
from training.encoding import sample_indices
from training.errors import ConfigError, RunError, as_typed
from training.pruning import PruningLoss, measure_pruning, prune_vae
from training.report import gate_votes_in, report_of_run
from training.run_folder import RunFolder, write_atomically
from training.run_images import open_run_images

N_IMAGES = 2000
MAX_LOSS = 0.02


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What pruning may do.

    Attributes:
        max_loss: Largest share that may be lost of what the code tells about the images.
        keep: The dimensions to keep instead of the report's relevant ones.
        force: Write it whatever it loses, and if the run is not finished.
    """

    max_loss: float = MAX_LOSS
    keep: Sequence[int] = ()
    force: bool = False


@dataclass(frozen=True)
class Pruned:
    """A smaller model and what it was made from.

    Attributes:
        run: With the kept dimensions only, numbered anew.
        dims: Their old numbers, in their new order.
        loss: What the reconstructions lose.
        facts: What `run.json` keeps of all this.
    """

    run: LoadedRun
    dims: Sequence[int]
    loss: PruningLoss
    facts: dict[str, Any]


def prune_run(
    run_dir: Path,
    out: Path,
    *,
    limits: Limits = Limits(),
    seed: int = 0,
    console: Console | None = None,
) -> Pruned:
    """Write a run folder with the relevant dimensions only and say what that costs.

    Args:
        run_dir: The run's folder, left as it is.
        out: New or empty folder for the smaller one.
        limits: What to keep and how much may be lost.
        seed: Of the sample of images.
        console: Where the figures go; the terminal by default.

    Raises:
        TrainingError: The folder holds no run or its images are gone, nothing is to be dropped, or
            it would lose too much. Nothing is written then.
    """
    console = console or Console()
    run, folder = load_model(run_dir), RunFolder(out)
    folder.require_free()
    if not limits.force:
        _require_finished(run, run_dir)
    pruned = _prune(run, run_dir, keep=limits.keep, seed=seed)
    _print(console, pruned, n_dims=run.vae.latent_dim)
    if pruned.loss.share > limits.max_loss and not limits.force:
        raise RunError(
            f"pruning may lose {limits.max_loss:.1%} of what the code explains: it would lose "
            f"{pruned.loss.share:.1%}; nothing was written; name the dimensions with --keep, allow "
            "more with --max-loss, or use --force"
        )
    folder.create()
    _write(folder, pruned, source=RunFolder(run_dir))
    return pruned


def _prune(run: LoadedRun, run_dir: Path, *, keep: Sequence[int], seed: int) -> Pruned:
    source = open_run_images(run)
    report = report_of_run(run_dir, run, source)
    dims = _kept_dims(run, run_dir, keep=keep, relevant=report["relevant_dims"])
    means = torch.tensor([row["mu_mean"] for row in report["dims"]])
    vae = prune_vae(run.vae, dims, means=means)
    held_out = held_out_part(source, run.config.data)
    sample = held_out or source
    indices = sample_indices(sample.n_images, N_IMAGES, seed=seed)
    loss = measure_pruning(run.vae, vae, sample, indices=indices)
    smaller = LoadedRun(
        config=_smaller(run.config, dims),
        vae=vae,
        relevance=run.relevance[list(dims)],
        step=run.step,
        run_info=run.run_info,
    )
    facts = {
        "run": run_dir.resolve().name,
        "latent_dim": run.vae.latent_dim,
        "dims": list(dims),
        "gate_votes": gate_votes_in(run),
        "images": "held out" if held_out else "training",
        "n_images": len(indices),
        "share_lost": loss.share,
        **asdict(loss),
    }
    return Pruned(smaller, dims=dims, loss=loss, facts=facts)


def _require_finished(run: LoadedRun, run_dir: Path) -> None:
    status = run.run_info.get("status")
    if status != "finished":
        raise RunError(
            f"a run is pruned when it is finished: `{run_dir}` is {status} at step {run.step:,}; "
            f"go on with rfvae-train resume {as_typed(run_dir)}, or use --force"
        )


def _kept_dims(
    run: LoadedRun, run_dir: Path, *, keep: Sequence[int], relevant: Sequence[int]
) -> list[int]:
    """The dimensions to keep, each once, in their new order."""
    n_dims = run.vae.latent_dim
    wrong = [dim for dim in keep if not 0 <= dim < n_dims]
    if wrong:
        raise ConfigError(f"`--keep` takes dimensions from 0 to {n_dims - 1}: got {wrong[0]}")
    dims = list(dict.fromkeys(keep or relevant))
    if not dims:
        raise RunError(
            f"pruning keeps the relevant dimensions: `{run_dir}` has none; train longer, or name "
            "dimensions with --keep"
        )
    if len(dims) == n_dims:
        raise RunError(f"nothing to drop: all {n_dims} dimensions of `{run_dir}` are kept")
    return dims


def _smaller(config: Config, dims: Sequence[int]) -> Config:
    """The configuration of a model with `dims` alone."""
    model = config.model.model_copy(update={"latent_dim": len(dims)})
    relevance = config.relevance
    if isinstance(relevance.initial, tuple):
        initial = tuple(relevance.initial[dim] for dim in dims)
        relevance = relevance.model_copy(update={"initial": initial})
    return config.model_copy(update={"model": model, "relevance": relevance})


def _write(folder: RunFolder, pruned: Pruned, *, source: RunFolder) -> None:
    """The files that evaluation, report and export read; `run.json`, which makes it a run, last."""
    run = pruned.run
    tensors = {f"vae.{name}": tensor for name, tensor in run.vae.state_dict().items()}
    write_checkpoint(
        folder.checkpoint,
        tensors | {"relevance_logits": run.relevance.logit()},
        config=run.config,
        step=run.step,
        image_shape=run.vae.image_shape,
    )
    write_atomically(folder.config, config_toml(run.config).encode())
    n_dims = pruned.facts["latent_dim"]
    lines = [
        json.dumps(_of_dims(record, pruned.dims, n_dims=n_dims)) + "\n"
        for record in source.read_metrics()
    ]
    write_atomically(folder.metrics, "".join(lines).encode())
    folder.write_info(run.run_info | {"pruned_from": pruned.facts})


def _of_dims(value: Any, dims: Sequence[int], *, n_dims: int) -> Any:
    """A log record whose figures by dimension are those of `dims`."""
    if isinstance(value, dict):
        return {key: _of_dims(part, dims, n_dims=n_dims) for key, part in value.items()}
    if isinstance(value, list) and len(value) == n_dims:
        return [value[dim] for dim in dims]
    return value


def _print(console: Console, pruned: Pruned, *, n_dims: int) -> None:
    facts, loss = pruned.facts, pruned.loss
    renamed = ", ".join(f"{old} becomes {new}" for new, old in enumerate(pruned.dims))
    sentences = (
        f"kept {len(pruned.dims)} of {n_dims} dimensions: {renamed}",
        f"measured on {facts['n_images']:,} {facts['images']} images, reconstructed from mu",
    )
    for sentence in sentences:
        console.print(sentence, highlight=False, soft_wrap=True)
    console.print(_loss_table(loss))
    console.print(
        f"lost: {loss.share:.2%} of what the code explains (the mean image as every "
        f"reconstruction costs {loss.blind_loss:.1f} nats)",
        highlight=False,
        soft_wrap=True,
    )


def _loss_table(loss: PruningLoss) -> Table:
    table = Table(box=box.SIMPLE_HEAD)
    for column in ("", "before", "after", "change"):
        table.add_column(column, justify="right" if column else "left", no_wrap=True)
    rows = {
        "reconstruction loss (nats)": ("reconstruction_loss", ".2f"),
        "ELBO (nats)": ("elbo", ".2f"),
        "mean absolute error": ("absolute_error", ".5f"),
    }
    for title, (name, form) in rows.items():
        before, after = (getattr(quality, name) for quality in (loss.before, loss.after))
        table.add_row(
            title, format(before, form), format(after, form), format(after - before, f"+{form}")
        )
    return table
