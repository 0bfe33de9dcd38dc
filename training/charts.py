"""Charts of a run: bars of relevance and KL, curves of the training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from training.relevance_votes import RELEVANCE

INK, MUTED, LINE = "#1f2328", "#8b949e", "#d0d7de"
ACCENT, NUISANCE = "#0a7ea4", "#c3c9d0"
# Okabe and Ito's colors, told apart by color-blind readers too.
DIM_COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
Log = Sequence[dict[str, Any]]
_BESIDE: dict[str, Any] = {"bbox_to_anchor": (1.0, 1.0)}
BESIDE_BAR: dict[str, Any] = {
    "xytext": (4, 0),
    "textcoords": "offset points",
    "va": "center",
    "fontsize": 8.5,
    "color": INK,
}
TITLE: dict[str, Any] = {"loc": "left", "fontsize": 11, "color": INK}


def as_drawn(name: str) -> str:
    """A name that people gave, for matplotlib: what stands between two `$` is a formula to it."""
    return name.replace("$", r"\$")


def relevance_figure(rows: Sequence[dict[str, Any]]) -> Figure:
    """Bars of relevance and of mean KL, most relevant dimension on top.

    Args:
        rows: Rows of a report's `dims` in the order to draw.
    """
    figure = Figure(figsize=(9, 1.2 + 0.34 * len(rows)), facecolor="white")
    left, right = figure.subplots(1, 2, sharey=True)
    colors = [ACCENT if row["relevant"] else NUISANCE for row in rows]
    _bars(left, [row["relevance"] for row in rows], colors, form="{:.2f}")
    _bars(right, [row["mean_kl"] for row in rows], colors, form="{:.2f}")
    left.set_xlim(0, 1.12)
    left.set_xticks([0, 0.25, 0.5, 0.75, 1])
    left.axvline(RELEVANCE, color=INK, linewidth=0.8, linestyle=(0, (3, 3)))
    right.set_xlim(0, 1.15 * max(*(row["mean_kl"] for row in rows), 0.1))
    left.set_title("relevance", **TITLE)
    right.set_title("mean KL (nats)", **TITLE)
    left.set_yticks(range(len(rows)), [f"dimension {row['dim']}" for row in rows])
    left.invert_yaxis()
    for label, row in zip(left.get_yticklabels(), rows, strict=True):
        label.set_color(INK if row["relevant"] else MUTED)
    figure.subplots_adjust(
        left=0.13,
        right=0.98,
        top=1 - 0.45 / figure.get_figheight(),
        bottom=0.42 / figure.get_figheight(),
        wspace=0.06,
    )
    return figure


def training_figure(log: Log, *, relevant_dims: Sequence[int], sample: str = "image") -> Figure:
    """Loss terms, and relevance and KL by dimension, over steps; dots where there is but one step.

    Args:
        log: Records of `metrics.jsonl`.
        relevant_dims: Dimensions drawn in color.
        sample: What the model is trained on: `image` or `row`.
    """
    figure = Figure(figsize=(12.5, 7), facecolor="white")
    axes = figure.subplots(2, 2, sharex=True)
    steps = np.array([record["step"] for record in log])
    _line(axes[0, 0], steps, log, "reconstruction", DIM_COLORS[0])
    axes[0, 0].set_title(f"reconstruction (nats per {sample})", **TITLE)
    if len(log) > 1:
        _zoom(axes[0, 0], [record["reconstruction"] for record in log])
    _line(axes[0, 1], steps, log, "total_correlation", DIM_COLORS[1], label="total correlation")
    _line(axes[0, 1], steps, log, "discriminator_loss", DIM_COLORS[2], label="discriminator loss")
    axes[0, 1].set_title("total correlation and its discriminator (nats)", **TITLE)
    axes[0, 1].legend(frameon=False, fontsize=9, labelcolor=INK, loc="upper left", **_BESIDE)
    _lines_by_dim(axes[1, 0], steps, log, "relevance", relevant_dims)
    axes[1, 0].set_ylim(-0.03, 1.03)
    axes[1, 0].set_title("relevance by dimension", **TITLE)
    _lines_by_dim(axes[1, 1], steps, log, "kl_per_dim", relevant_dims)
    axes[1, 1].set_title("KL by dimension (nats)", **TITLE)
    axes[1, 1].legend(frameon=False, fontsize=9, labelcolor=INK, loc="upper left", **_BESIDE)
    for axis in axes.flat:
        _plain(axis)
        axis.grid(color=LINE, linewidth=0.6)
    for axis in axes[1]:
        axis.set_xlabel("step", color=INK, fontsize=10)
        axis.xaxis.set_major_formatter(lambda step, _: f"{step:,.0f}")
    figure.subplots_adjust(left=0.05, right=0.86, top=0.95, bottom=0.07, wspace=0.14, hspace=0.16)
    return figure


def _bars(axis: Axes, values: Sequence[float], colors: Sequence[str], *, form: str) -> None:
    axis.barh(range(len(values)), values, color=colors, height=0.72)
    for row, value in enumerate(values):
        label = axis.annotate(form.format(value), (value, row), **BESIDE_BAR)
        label.set_bbox({"facecolor": "white", "edgecolor": "none", "pad": 0.5})
    _plain(axis)
    axis.tick_params(axis="y", length=0)


def _plain(axis: Axes) -> None:
    for side in ("top", "right"):
        axis.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axis.spines[side].set_color(LINE)
    axis.tick_params(colors=INK, labelsize=9, color=LINE)
    axis.set_axisbelow(True)


def _line(
    axis: Axes,
    steps: NDArray[np.int64],
    log: Log,
    key: str,
    color: str,
    *,
    label: str | None = None,
) -> None:
    values = [record[key] for record in log]
    axis.plot(steps, values, color=color, linewidth=1.4, marker=_marker(log), label=label)


def _marker(log: Log) -> str | None:
    """A line takes two records."""
    return "o" if len(log) == 1 else None


def _zoom(axis: Axes, values: Sequence[float]) -> None:
    """Leave the first steep fall out of sight, or nothing else could be seen."""
    later = np.array(values[len(values) // 10 :])
    margin = 0.06 * max(float(np.ptp(later)), 1e-6)
    axis.set_ylim(later.min() - margin, later.max() + margin)


def _lines_by_dim(
    axis: Axes,
    steps: NDArray[np.int64],
    log: Log,
    key: str,
    relevant_dims: Sequence[int],
) -> None:
    """One line a dimension: gray, or colored and named where it is relevant."""
    values = np.array([record[key] for record in log])  # (records, latent_dim)
    nuisances = [dim for dim in range(values.shape[1]) if dim not in relevant_dims]
    if nuisances:
        axis.plot(steps, values[:, nuisances], color=NUISANCE, linewidth=1.0, marker=_marker(log))
    for number, dim in enumerate(relevant_dims):
        color, marker = DIM_COLORS[number % len(DIM_COLORS)], _marker(log)
        style: dict[str, Any] = {"color": color, "marker": marker, "linewidth": 1.6}
        axis.plot(steps, values[:, dim], label=f"dimension {dim}", **style)
    axis.plot([], [], color=NUISANCE, linewidth=1.0, label="nuisances")
