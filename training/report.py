"""The relevance report of a run: which dimensions matter, by which votes, and how it looks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich import box
from rich.console import Console
from rich.table import Table
from torch import Tensor

from training.checkpoint import LoadedRun, load_model
from training.data import ImageSource, held_out_part, open_images
from training.encoding import Encoded, encode_with_elbo, sample_indices
from training.errors import DataError
from training.figures import draw_report_figures
from training.location import located
from training.metrics.aggregate_posterior import dimension_information
from training.metrics.decoder_effects import decoder_sensitivity, traversal_effect
from training.networks import VAE
from training.relevance_votes import (
    RULE,
    Evidence,
    disagreements,
    is_relevant,
    ordered_rows,
    relevant_order,
    votes_of,
)
from training.run_folder import FORMAT_VERSION, RunFolder, write_atomically

MAX_IMAGES = 10_000
SENSITIVITY_IMAGES = 100  # as ARD-VAE (arXiv 2501.10901)
TRAVERSAL_IMAGES = 25
HELD_OUT_IMAGES = 2000
PERCENTS = (1, 5, 25, 50, 75, 95, 99)
RUN_KEYS = [
    "status",
    "code_version",
    "torch_version",
    "data",
    "seed",
    "device",
    "step",
    "steps",
    "seconds",
    "created",
    "updated",
]
VOTE_MARKS = {True: "+", False: "-", None: "."}
Report = dict[str, Any]


def relevance_report(
    vae: VAE,
    source: ImageSource,
    *,
    relevance: Tensor,
    gate_votes: bool,
    run_info: dict[str, Any],
    seed: int = 0,
) -> Report:
    """Look at a model on a sample of its training images and decide the relevant set.

    Args:
        vae: The model, in evaluation mode on the CPU.
        source: The images it was trained on. Statistics use all of them, or `MAX_IMAGES` drawn
            with `seed`.
        relevance: (latent_dim,), in [0, 1].
        gate_votes: Whether the relevance says anything; see `gate_has_a_vote`.
        run_info: What `run.json` holds; a part of it is kept.
        seed: Of the image sample.

    Returns:
        The content of `report.json`. `created` is when the run was last written, so that the same
        run gives the same bytes.
    """
    encoded = encode_with_elbo(vae, source, sample_indices(source.n_images, MAX_IMAGES, seed=seed))
    evidence = _gather(vae, encoded, relevance=relevance, gate_votes=gate_votes, seed=seed)
    order = relevant_order(evidence)
    return {
        "format_version": FORMAT_VERSION,
        "created": run_info.get("updated"),
        "run": {key: run_info[key] for key in RUN_KEYS if key in run_info},
        "rule": RULE,
        "dims": [_describe(one, encoded) for one in evidence],
        "relevant_dims": order,
        "n_relevant": len(order),
        "disagreements": disagreements(evidence),
        "elbo_quantiles": _quantiles(encoded.elbo),
        "n_images_used": len(encoded.indices),
    }


def _compare_parts(
    vae: VAE, train: ImageSource, held_out: ImageSource, *, seed: int
) -> dict[str, Any]:
    """Mean ELBO of images that training saw and of ones that it never saw."""
    samples = [
        encode_with_elbo(vae, source, sample_indices(source.n_images, HELD_OUT_IMAGES, seed=seed))
        for source in (train, held_out)
    ]
    return {
        "n_images": held_out.n_images,
        "elbo": float(samples[1].elbo.mean()),
        "elbo_training": float(samples[0].elbo.mean()),
    }


def gate_has_a_vote(relevance: Tensor, *, learned: bool) -> bool:
    """A learned gate has, and a fixed mask; a fixed relevance that is the same for all has not."""
    return learned or bool((relevance != relevance[0]).any())


def report_run(run_dir: Path, *, seed: int = 0, console: Console | None = None) -> Report:
    """Write `report.json` and `figures/*.png` of a run and print the table.

    Args:
        run_dir: The run's folder.
        seed: Of the image sample.
        console: Where the table goes; the terminal by default.

    Returns:
        The content of `report.json`.

    Raises:
        TrainingError: The folder holds no run, or its images are not those it was trained on.
    """
    run = load_model(run_dir)
    source = open_run_images(run)
    # A third faster on CPUs.
    run.vae.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    report = relevance_report(
        run.vae,
        source,
        relevance=run.relevance,
        gate_votes=gate_has_a_vote(run.relevance, learned=run.config.relevance.mode == "learned"),
        run_info=run.run_info,
        seed=seed,
    )
    if held_out := held_out_part(source, run.config.data):
        report["held_out"] = _compare_parts(run.vae, source, held_out, seed=seed)
    write_json(run_dir / "report.json", report)
    records = read_records(RunFolder(run_dir).metrics)
    paths = draw_report_figures(run_dir / "figures", run.vae, source, report=report, log=records)
    _print(console or Console(), report, paths=paths)
    return report


def relevant_dims_of_run(run_dir: Path, run: LoadedRun, source: ImageSource) -> list[int]:
    """From `report.json` where it describes this checkpoint, else worked out again."""
    return [int(dim) for dim in report_of_run(run_dir, run, source)["relevant_dims"]]


def report_of_run(run_dir: Path, run: LoadedRun, source: ImageSource) -> Report:
    """The content of `report.json` where it describes this checkpoint, else worked out again."""
    try:
        report: Report = json.loads((run_dir / "report.json").read_text(encoding="utf-8"))
        if report["run"]["step"] == run.step and report["relevant_dims"] is not None:
            return report
    except (OSError, ValueError, KeyError, TypeError):
        pass  # No report, or none that can be read: the next lines make one.
    learned = run.config.relevance.mode == "learned"
    return relevance_report(
        run.vae,
        source,
        relevance=run.relevance,
        gate_votes=gate_has_a_vote(run.relevance, learned=learned),
        run_info=run.run_info,
    )


def open_run_images(run: LoadedRun) -> ImageSource:
    """The images of a run.

    Raises:
        DataError: They are no longer those it was trained on.
    """
    source = open_images(located(run.config.data, run.run_info.get("data_paths", {})))
    expected, found = run.run_info["data"]["sha256"], source.sha256()
    if expected != found:
        raise DataError(
            f"a run is looked at with the images it was trained on: SHA-256 {expected[:12]}… is "
            f"recorded and `{source.name}` now has {found[:12]}…; restore the file"
        )
    return source


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write indented JSON in one step; NaN is refused, since JSON has none."""
    text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False)
    write_atomically(path, text.encode() + b"\n")


def read_records(path: Path) -> list[dict[str, Any]]:
    """The log of a run; a last line cut short by a crash is left out."""
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    return [json.loads(line) for line in lines if line.endswith("\n")]


def _gather(
    vae: VAE, encoded: Encoded, *, relevance: Tensor, gate_votes: bool, seed: int
) -> list[Evidence]:
    variances = encoded.mu.var(dim=0, correction=0)  # (latent_dim,)
    low, high = (torch.quantile(encoded.mu, q, dim=0) for q in (0.01, 0.99))
    sensitivity = decoder_sensitivity(
        vae.decode, _spread_rows(encoded.mu, SENSITIVITY_IMAGES), variances=variances
    )
    effects = traversal_effect(
        vae.decode, _spread_rows(encoded.mu, TRAVERSAL_IMAGES), low=low, high=high
    )
    information = dimension_information(encoded.mu.numpy(), encoded.logvar.numpy(), seed=seed)
    total = float(sensitivity.sum())
    return [
        Evidence(
            dim=dim,
            relevance=float(relevance[dim]),
            gate_votes=gate_votes,
            mean_kl=float(encoded.kl[:, dim].mean()),
            active_variance=float(variances[dim]),
            decoder_sensitivity=float(sensitivity[dim]),
            sensitivity_share=float(sensitivity[dim]) / total if total else 0.0,
            traversal_effect=float(effects[dim]),
            n_pixels=vae.image_shape[1] * vae.image_shape[2],
            mutual_information=float(information[dim]),
        )
        for dim in range(vae.latent_dim)
    ]


def _spread_rows(table: Tensor, n: int) -> Tensor:
    """`n` rows at equal distances, all of them if there are fewer."""
    rows = np.unique(np.linspace(0, len(table) - 1, n).astype(np.int64))
    return table[torch.from_numpy(rows)]


def _describe(evidence: Evidence, encoded: Encoded) -> dict[str, Any]:
    mu = encoded.mu[:, evidence.dim]
    return {
        "dim": evidence.dim,
        "relevance": evidence.relevance,
        "mean_kl": evidence.mean_kl,
        "active_variance": evidence.active_variance,
        "mu_mean": float(mu.mean()),
        "mu_std": float(mu.std(correction=0)),
        "mu_quantiles": _quantiles(mu),
        "decoder_sensitivity": evidence.decoder_sensitivity,
        "sensitivity_share": evidence.sensitivity_share,
        "traversal_effect": evidence.traversal_effect,
        "mutual_information": evidence.mutual_information,
        "votes": votes_of(evidence),
        "relevant": is_relevant(evidence),
    }


def _quantiles(values: Tensor) -> dict[str, float]:
    found = np.percentile(values.double().numpy(), PERCENTS)
    return {str(percent): float(value) for percent, value in zip(PERCENTS, found, strict=True)}


def report_table(report: Report) -> Table:
    """One row a dimension, relevant ones first and in bold."""
    title = f"{report['n_relevant']} relevant of {len(report['dims'])} dimensions"
    table = Table(title=title, title_style="bold", box=box.SIMPLE_HEAD)
    for column in ("dim", "relevance", "KL", "Var(mu)", "decoder", "pixels", "MI"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("votes", no_wrap=True)
    for row in ordered_rows(report):
        table.add_row(
            str(row["dim"]),
            f"{row['relevance']:.2f}",
            f"{row['mean_kl']:.2f}",
            f"{row['active_variance']:.2g}",
            f"{row['sensitivity_share']:.1%}",
            f"{row['traversal_effect']:.1f}",
            f"{row['mutual_information']:.2f}",
            "".join(VOTE_MARKS[vote] for vote in row["votes"].values()),
            style="bold" if row["relevant"] else "dim",
        )
    return table


LEGEND = (
    "KL: mean, nats · decoder: share of its sensitivity · pixels: changed by a sweep from the 1 % "
    "to the 99 % quantile · MI: information about the image, nats"
)
NOTHING_RELEVANT = (
    "no dimension tells anything about the images: train longer, or lower the pressure on all of "
    "them, `objective.kl_weight_max`"
)


def _print(console: Console, report: Report, *, paths: list[Path]) -> None:
    console.print(report_table(report))
    votes = ", ".join(report["dims"][0]["votes"]).replace("_", " ")
    if not report["relevant_dims"]:
        console.print(NOTHING_RELEVANT, highlight=False, soft_wrap=True)
    lines = [LEGEND, f"votes: {votes}; + relevant, - not, . no vote"]
    if held_out := report.get("held_out"):
        lines.append(
            f"held out: ELBO {held_out['elbo']:.1f} nats an image on {held_out['n_images']:,} "
            f"images never seen, {held_out['elbo_training']:.1f} on those of training"
        )
    lines += [f"disagreement: {text}" for text in report["disagreements"]]
    lines += [f"written: {path}" for path in paths]
    for line in lines:
        console.print(line, markup=False, highlight=False, soft_wrap=True)
