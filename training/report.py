"""The relevance report of a run: which dimensions matter, by which votes, and how it looks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from torch import Tensor

from training.checkpoint import LoadedRun, load_model
from training.data import ImageSource, held_out_part
from training.data.polarity import polarity_of
from training.data.standardization import standardization_of
from training.drawing_changes import describe_sweep
from training.encoding import encode_with_elbo, sample_indices
from training.evidence import (
    describe_evidence,
    effects_on_columns,
    gather_evidence,
    measured_decoder,
    quantiles,
)
from training.figures import draw_report_figures, traverse
from training.networks import VAE
from training.relevance_votes import RULE, disagreements, relevant_order
from training.report_page import report_page
from training.report_text import Report, moved_columns, print_report
from training.run_folder import FORMAT_VERSION, RunFolder, write_atomically, write_json
from training.run_images import open_run_images

MAX_IMAGES = 10_000
HELD_OUT_IMAGES = 2000
POLARITY_IMAGES = 64
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
        run gives the same bytes. `changes` of a relevant dimension says in words what its sweep
        does. For images also `polarity`, which an export without the images needs. For rows of
        numbers also `columns`, and for each dimension `column_effects`: how its sweep moves them,
        in standard deviations of the column.
    """
    encoded = encode_with_elbo(vae, source, sample_indices(source.n_images, MAX_IMAGES, seed=seed))
    decoder = measured_decoder(vae, encoded, source)
    evidence = gather_evidence(
        decoder, encoded, relevance=relevance, gate_votes=gate_votes, seed=seed
    )
    order = relevant_order(evidence)
    dims = [describe_evidence(one, encoded) for one in evidence]
    report = {
        "format_version": FORMAT_VERSION,
        "created": run_info.get("updated"),
        "run": {key: run_info[key] for key in RUN_KEYS if key in run_info},
        "rule": RULE,
        "dims": dims,
        "relevant_dims": order,
        "n_relevant": len(order),
        "disagreements": disagreements(evidence),
        "elbo_quantiles": quantiles(encoded.elbo),
        "n_images_used": len(encoded.indices),
    }
    if vectors := standardization_of(source):
        report["columns"] = list(vectors.columns)
        for row, effects in zip(dims, effects_on_columns(decoder, encoded), strict=True):
            row["column_effects"] = effects
    if len(vae.image_shape) == 3:
        sample = sample_indices(source.n_images, POLARITY_IMAGES, seed=seed)
        report["polarity"] = polarity_of(source.images(sample))
    _add_changes(report, vae, source)
    return report


def _add_changes(report: Report, vae: VAE, source: ImageSource) -> None:
    """Say in words what the sweep of each relevant dimension does; nothing of the others."""
    for row in report["dims"]:
        row["changes"] = []
    rows = [report["dims"][dim] for dim in report["relevant_dims"]]
    if "columns" in report:
        for row in rows:
            row["changes"] = moved_columns(report, row["dim"])
    elif rows:
        for row, frames in zip(rows, traverse(vae, source, rows), strict=True):
            row["changes"] = describe_sweep(frames)


def _compare_parts(
    vae: VAE, train: ImageSource, held_out: ImageSource, *, seed: int
) -> dict[str, Any]:
    """Mean ELBO of images that training saw and of ones that it never saw."""
    samples = [
        encode_with_elbo(vae, source, sample_indices(source.n_images, HELD_OUT_IMAGES, seed=seed))
        for source in (train, held_out)
    ]
    return {
        "n_images": len(samples[1].indices),
        "elbo": float(samples[1].elbo.mean()),
        "elbo_training": float(samples[0].elbo.mean()),
    }


def gate_has_a_vote(relevance: Tensor, *, learned: bool) -> bool:
    """A learned gate has, and a fixed mask; a fixed relevance that is the same for all has not."""
    return learned or bool((relevance != relevance[0]).any())


def gate_votes_in(run: LoadedRun) -> bool:
    """Whether the gate of a run has a vote.

    It had one before pruning and keeps it: of a fixed mask only the open dimensions are left then,
    and those are the same for all.
    """
    learned = run.config.relevance.mode == "learned"
    voted = run.run_info.get("pruned_from", {}).get("gate_votes", False)
    return voted or gate_has_a_vote(run.relevance, learned=learned)


def report_run(run_dir: Path, *, seed: int = 0, console: Console | None = None) -> Report:
    """Write `report.json`, `report.html` and `figures/*.png` of a run and print the table.

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
    report = _report(run, source, seed=seed)
    if held_out := held_out_part(source, run.config.data):
        report["held_out"] = _compare_parts(run.vae, source, held_out, seed=seed)
    write_json(run_dir / "report.json", report)
    records = RunFolder(run_dir).read_metrics()
    paths = draw_report_figures(run_dir / "figures", run.vae, source, report=report, log=records)
    page = run_dir / "report.html"
    write_atomically(page, report_page(report, run.vae, source, figures=paths).encode())
    print_report(console or Console(), report, paths=[*paths, page])
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
    return _report(run, source, seed=0)


def _report(run: LoadedRun, source: ImageSource, *, seed: int) -> Report:
    return relevance_report(
        run.vae,
        source,
        relevance=run.relevance,
        gate_votes=gate_votes_in(run),
        run_info=run.run_info,
        seed=seed,
    )
