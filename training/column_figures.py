"""Pictures of a run on rows of numbers: what each dimension moves, and what is rebuilt how well."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray

from training.charts import ACCENT, BESIDE_BAR, INK, LINE, MUTED, TITLE, as_drawn
from training.data import ImageSource
from training.encoding import sample_indices
from training.metrics.column_effects import is_constant
from training.networks import VAE

N_ROWS = 2000
MAX_COLUMNS = 40  # more than a page shows
LONGEST_NAME = 24
Floats = NDArray[np.float64]
Row = dict[str, Any]


def effects_figure(rows: Sequence[Row], columns: Sequence[str]) -> Figure:
    """A map of how each dimension's sweep moves each column: red rises, blue falls.

    Args:
        rows: Rows of a report's `dims` in the order to draw, relevant ones first.
        columns: Their names; of many, the ones that move most are shown.
    """
    effects = np.array([row["column_effects"] for row in rows])  # (rows, n_columns)
    shown = _most_moved(effects)
    effects = effects[:, shown]
    figure = Figure((2.6 + 0.42 * len(shown), 1.9 + 0.34 * len(rows)), facecolor="white")
    axis = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    width, height = figure.get_size_inches()
    axis.set_position(
        (1.3 / width, 0.35 / height, 0.42 * len(shown) / width, 0.34 * len(rows) / height)
    )
    most = max(float(np.abs(effects).max()), 0.1)
    picture = axis.imshow(effects, cmap="RdBu_r", vmin=-most, vmax=most, aspect="auto")
    axis.xaxis.tick_top()
    axis.set_xticks(range(len(shown)), [_short(columns[k]) for k in shown], rotation=60, ha="left")
    axis.set_yticks(range(len(rows)), [f"dimension {row['dim']}" for row in rows])
    for name, row in zip(axis.get_yticklabels(), rows, strict=True):
        name.set_color(INK if row["relevant"] else MUTED)
    axis.tick_params(length=0, labelsize=9)
    for side in axis.spines.values():
        side.set_color(LINE)
    axis.set_xlabel("moved by a sweep from the 1 % to the 99 % quantile", color=INK, fontsize=9)
    bar_left = (1.3 + 0.42 * len(shown) + 0.12) / width
    box = (bar_left, 0.35 / height, 0.12 / width, 0.34 * len(rows) / height)
    bar = figure.colorbar(picture, cax=figure.add_axes(box))
    bar.set_label("standard deviations", color=INK, fontsize=8.5)
    bar.ax.tick_params(labelsize=8, color=LINE)
    return figure


def explained_figure(explained: Floats, columns: Sequence[str]) -> Figure:
    """Bars of the share of each column's variance that the reconstruction keeps.

    Args:
        explained: (n_columns,), at most 1; 0 is what the column's mean alone would do, NaN marks a
            constant column.
        columns: Their names; of many, the worst ones are shown.
    """
    shown = np.argsort(explained, kind="stable")[:MAX_COLUMNS]
    figure = Figure((7.5, 1.0 + 0.28 * len(shown)), facecolor="white")
    axis = figure.subplots()
    values = np.clip(np.nan_to_num(explained[shown]), 0, 1)
    axis.barh(range(len(shown)), values, color=ACCENT, height=0.72)
    for place, column in enumerate(shown):
        text = "constant" if np.isnan(explained[column]) else f"{explained[column]:.2f}"
        axis.annotate(text, (values[place], place), **BESIDE_BAR)
    axis.set_yticks(range(len(shown)), [_short(columns[k]) for k in shown])
    axis.set_xlim(0, 1.1)
    axis.invert_yaxis()
    axis.tick_params(axis="y", length=0, labelsize=9)
    for side in ("top", "right"):
        axis.spines[side].set_visible(False)
    title = "share of each column's variance that the reconstruction keeps"
    axis.set_title(title, **TITLE)
    figure.subplots_adjust(left=0.3, right=0.97, top=1 - 0.45 / figure.get_figheight(), bottom=0.1)
    return figure


@torch.no_grad()
def explained_variance(vae: VAE, source: ImageSource) -> Floats:
    """1 - mean squared error / variance of each column, over a sample: (n_columns,).

    NaN where a column is constant.
    """
    rows = source.images(sample_indices(source.n_images, N_ROWS, seed=0))
    errors = (vae.decode(vae.encode(rows)[0]) - rows).square().mean(dim=0).double()
    variance = rows.var(dim=0, correction=0).double()
    explained: Floats = torch.where(is_constant(rows), torch.nan, 1 - errors / variance).numpy()
    return explained


def _most_moved(effects: Floats) -> list[int]:
    """Column numbers in their order, the most moved ones of many."""
    order = np.argsort(-np.abs(effects).max(axis=0), kind="stable")[:MAX_COLUMNS]
    return [int(k) for k in np.sort(order)]


def _short(name: str) -> str:
    return as_drawn(name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 1]}…")
