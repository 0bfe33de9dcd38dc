"""How a relevance report looks on a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from training.relevance_votes import ordered_rows

VOTE_MARKS = {True: "+", False: "-", None: "."}
MOST_COLUMNS = 6  # of a row of numbers, in a line about a dimension
SMALLEST_EFFECT = 0.1  # standard deviations
NOTHING_MEASURED = {
    "row": f"moves no column by {SMALLEST_EFFECT} sd or more",
    "image": "neither place nor size, turn, shape, ink or color changes by much; see its sweep",
}
Report = dict[str, Any]


def report_table(report: Report) -> Table:
    """One row a dimension, relevant ones first and in bold."""
    title = f"{report['n_relevant']} relevant of {len(report['dims'])} dimensions"
    table = Table(title=title, title_style="bold", box=box.SIMPLE_HEAD)
    effect = "columns" if "columns" in report else "pixels"
    for column in ("dim", "relevance", "KL", "Var(mu)", "decoder", effect, "MI"):
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
    "KL: mean, nats · decoder: share of its sensitivity · {effect} by a sweep from the 1 % to the "
    "99 % quantile · MI: information about the {sample}, nats"
)
EFFECTS = {
    "image": "pixels: changed",
    "row": "columns: standard deviations of the columns, summed, that are moved",
}
SWEEPS = {
    "row": "what a sweep does, in standard deviations of the column:",
    "image": "what a sweep does to a typical image:",
}
NOTHING_RELEVANT = (
    "no dimension tells anything about the {sample}s: train longer, or lower the pressure on all "
    "of them, `objective.kl_weight_max`"
)


def print_report(console: Console, report: Report, *, paths: Sequence[Path]) -> None:
    """The table, what it means, and which files were written."""
    console.print(report_table(report))
    for line in _lines(report, paths):
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def _lines(report: Report, paths: Sequence[Path]) -> Iterator[str]:
    sample = "row" if "columns" in report else "image"
    if not report["relevant_dims"]:
        yield NOTHING_RELEVANT.format(sample=sample)
    yield LEGEND.format(effect=EFFECTS[sample], sample=sample)
    votes = ", ".join(report["dims"][0]["votes"]).replace("_", " ")
    yield f"votes: {votes}; + relevant, - not, . no vote"
    if held_out := report.get("held_out"):
        article = "an" if sample == "image" else "a"
        yield (
            f"held out: ELBO {held_out['elbo']:.1f} nats {article} {sample} on "
            f"{held_out['n_images']:,} {sample}s never seen, {held_out['elbo_training']:.1f} on "
            "those of training"
        )
    if report["relevant_dims"]:
        yield SWEEPS[sample]
    for dim in report["relevant_dims"]:
        changes = ", ".join(report["dims"][dim]["changes"])
        yield f"  dimension {dim}: {changes or NOTHING_MEASURED[sample]}"
    yield from (f"disagreement: {text}" for text in report["disagreements"])
    yield from (f"written: {path}" for path in paths)
    if sample == "image" and report["run"].get("data", {}).get("source") == "file":
        yield "page and pictures show images of the training data: keep them where those may be"


def moved_columns(report: Report, dim: int) -> list[str]:
    """What a dimension of a model of rows does to columns, the farthest moved first.

    In standard deviations (sd) of the column: "raises height by 1.20 sd".
    """
    effects = report["dims"][dim]["column_effects"]
    pairs = sorted(zip(report["columns"], effects, strict=True), key=lambda pair: -abs(pair[1]))
    return [
        f"{'raises' if effect > 0 else 'lowers'} {column} by {abs(effect):.2f} sd"
        for column, effect in pairs[:MOST_COLUMNS]
        if abs(effect) >= SMALLEST_EFFECT
    ]
