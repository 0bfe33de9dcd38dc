"""Pictures of a comparison: who matches whom, and what each match looks like."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from training.charts import ACCENT, INK, MUTED, as_drawn
from training.comparison import Comparison, Found
from training.data import ImageSource
from training.figures import MAX_ROWS, colored, label, save_figure, sheet, traverse
from training.metrics.inputs import Floats
from training.metrics.matching import Similarity, correlations
from training.networks import VAE

CELL_INCHES = 0.3
MOST_NUMBERED = 30  # dimensions; more make the figures in the cells unreadable
WHITE_TEXT_ABOVE = 0.6  # on cells darker than this
_CELL_TEXT: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": 6.5}


def draw_comparison(
    folder: Path,
    comparison: Comparison,
    models: Sequence[VAE],
    sources: Sequence[ImageSource],
    *,
    similarity: Similarity,
) -> list[Path]:
    """Draw what there is to draw into `folder`; returns the paths."""
    figures = {}
    if comparison.found:
        figures["matches"] = matches_figure(comparison, similarity=similarity)
        if len(models[0].image_shape) == 3:
            figures["traversals"] = members_figure(comparison, models, sources)
    paths = []
    for name, figure in figures.items():
        paths.append(folder / f"{name}.png")
        save_figure(figure, paths[-1])
    return paths


def matches_figure(comparison: Comparison, *, similarity: Similarity) -> Figure:
    """Absolute correlations of all relevant dimensions of all runs, those of a cluster together.

    Runs that agree give bright squares on the diagonal and nothing beside it.
    """
    members = [member for one in comparison.found for member in one.members]
    codes = np.stack([comparison.runs[run].codes[:, dim] for run, dim in members], axis=1)
    table = np.abs(correlations(codes, codes, similarity=similarity))
    side = max(2.0, CELL_INCHES * len(members))
    width, height = side + 2.2, side + 0.6
    figure = Figure(figsize=(width, height), facecolor="white")
    axis = figure.add_axes((2.0 / width, 0.45 / height, side / width, side / height))
    shades = LinearSegmentedColormap.from_list("match", ["white", ACCENT])
    axis.imshow(table, cmap=shades, vmin=0, vmax=1)
    if len(members) <= MOST_NUMBERED:
        _number(axis, table)
    _outline(axis, [len(one.members) for one in comparison.found])
    axis.set_yticks(range(len(members)), _row_labels(comparison), fontsize=8, color=INK)
    names = [f"{run + 1}: {dim}" for run, dim in members]
    axis.set_xticks(range(len(members)), names, fontsize=7, color=MUTED, rotation=90)
    axis.tick_params(length=0)
    for side_line in axis.spines.values():
        side_line.set_visible(False)
    return figure


def members_figure(
    comparison: Comparison, models: Sequence[VAE], sources: Sequence[ImageSource]
) -> Figure:
    """One strip a member, clusters below each other, all members growing the same way."""
    rows = [
        (one, member, sign)
        for one in _clusters_of_a_page(comparison.found)
        for member, sign in zip(one.members, one.signs, strict=True)
    ]
    strips = []
    for _, (run, dim), sign in rows:
        row = comparison.runs[run].report["dims"][dim]
        frames = colored(traverse(models[run], sources[run], [row])[0])
        strips.append(frames if sign > 0 else frames[::-1])
    figure, axes = sheet(np.stack(strips), label_width=190, top=16)
    for axis, (one, (run, dim), sign) in zip(axes, rows, strict=True):
        first = (run, dim) == one.members[0]
        name = _title(one) if first else ""
        way = "" if sign > 0 else ", backwards"
        label(axis, name, f"run {run + 1}, dimension {dim}{way}", faint=not first)
    return figure


def _clusters_of_a_page(found: Sequence[Found]) -> list[Found]:
    """All clusters, or their first members where there are more than fit."""
    shown = list(found[:MAX_ROWS])
    each = max(1, MAX_ROWS // len(shown))
    if sum(len(one.members) for one in shown) <= MAX_ROWS:
        return shown
    return [replace(one, members=one.members[:each], signs=one.signs[:each]) for one in shown]


def _title(one: Found) -> str:
    runs = f"in {len(one.members)} run{'s' if len(one.members) > 1 else ''}"
    return f"{as_drawn(one.factor)}, {runs}" if one.factor else runs


def _row_labels(comparison: Comparison) -> list[str]:
    """The factor beside the first member of each cluster, and every member's run and dimension."""
    labels = []
    for one in comparison.found:
        for number, (run, dim) in enumerate(one.members):
            factor = f"{as_drawn(one.factor)}   " if one.factor and number == 0 else ""
            labels.append(f"{factor}run {run + 1}: {dim}")
    return labels


def _number(axis: Axes, table: Floats) -> None:
    for (row, column), value in np.ndenumerate(table):
        text = f"{value:.2f}"
        axis.text(
            column,
            row,
            "1" if text == "1.00" else text[1:],
            color="white" if value > WHITE_TEXT_ABOVE else INK,
            **_CELL_TEXT,
        )


def _outline(axis: Axes, sizes: Sequence[int]) -> None:
    """A frame around each cluster."""
    start = -0.5
    for size in sizes:
        axis.add_patch(Rectangle((start, start), size, size, fill=False, edgecolor=INK, lw=1.0))
        start += size
