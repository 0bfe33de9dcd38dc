"""Pictures of a run: reconstructions and traversals, and `draw_report_figures` for all of them.

Figures are built without pyplot, so nothing global changes, and saved without dates or versions,
so the same run gives the same bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor

from training.charts import INK, MUTED, relevance_figure, training_figure
from training.column_figures import effects_figure, explained_figure, explained_variance
from training.data import ImageSource
from training.encoding import encode_means, sample_indices
from training.networks import VAE
from training.relevance_votes import ordered_rows

DPI = 100
GAP = 4  # screen pixels between frames
N_RECONSTRUCTIONS = 10
TRAVERSAL_STEPS = 11
MAX_ROWS = 24  # more dimensions than a page shows
Pixels = NDArray[np.float64]
Row = dict[str, Any]


def draw_report_figures(
    folder: Path,
    vae: VAE,
    source: ImageSource,
    *,
    report: dict[str, Any],
    log: Sequence[dict[str, Any]],
) -> list[Path]:
    """Draw all figures of a run into `folder`; returns their paths."""
    folder.mkdir(exist_ok=True)
    rows = ordered_rows(report)[:MAX_ROWS]
    figures = {**_sample_figures(vae, source, report, rows), "relevance": relevance_figure(rows)}
    if log:
        sample = "image" if len(vae.image_shape) == 3 else "row"
        figures["training"] = training_figure(
            log, relevant_dims=report["relevant_dims"], sample=sample
        )
    paths = []
    for name, figure in figures.items():
        paths.append(folder / f"{name}.png")
        save_figure(figure, paths[-1])
    return paths


def _sample_figures(
    vae: VAE, source: ImageSource, report: dict[str, Any], rows: Sequence[Row]
) -> dict[str, Figure]:
    """Images are shown; of rows of numbers, what happens to each column."""
    if len(vae.image_shape) == 3:
        return {
            "reconstructions": reconstructions_figure(*_reconstruct(vae, source)),
            "traversals": traversals_figure(traverse(vae, source, rows), rows),
        }
    columns = report["columns"]
    return {
        "reconstructions": explained_figure(explained_variance(vae, source), columns),
        "traversals": effects_figure(rows, columns),
    }


def save_figure(figure: Figure, path: Path) -> None:
    """Write a PNG that depends on nothing but what is drawn."""
    FigureCanvasAgg(figure)
    figure.savefig(path, dpi=DPI, metadata={"Software": None})


def reconstructions_figure(images: Tensor, reconstructions: Tensor) -> Figure:
    """Three rows: original, reconstruction, and their difference.

    Args:
        images: (batch, channels, height, width) in [0, 1].
        reconstructions: Same shape.
    """
    difference = (reconstructions - images).mean(dim=1).numpy()  # (batch, height, width)
    rows = [colored(images), colored(reconstructions), diverging(difference)]
    figure, axes = sheet(np.stack(rows), label_width=130, top=16)
    label(axes[0], "original")
    label(axes[1], "reconstruction")
    label(axes[2], "difference", "red: too bright", "blue: too dark")
    return figure


def traversals_figure(frames: Tensor, rows: Sequence[Row]) -> Figure:
    """One row of frames a dimension, from its 1 % to its 99 % quantile.

    Args:
        frames: (len(rows), steps, channels, height, width) in [0, 1].
        rows: Rows of a report's `dims` in the order of `frames`, relevant ones first.
    """
    strips = np.stack([colored(row) for row in frames])
    n_relevant = sum(row["relevant"] for row in rows)
    figure, axes = sheet(strips, label_width=190, top=34, gap_after=n_relevant - 1)
    for axis, row in zip(axes, rows, strict=True):
        low, high = row["mu_quantiles"]["1"], row["mu_quantiles"]["99"]
        text = f"relevance {row['relevance']:.2f} · {row['mean_kl']:.2f} nats"
        label(
            axis,
            f"dimension {row['dim']}",
            text,
            f"{low:+.2f} to {high:+.2f}",
            faint=not row["relevant"],
        )
    _ends(figure, axes[0], "1 % quantile", "99 % quantile")
    return figure


@torch.no_grad()
def _reconstruct(vae: VAE, source: ImageSource) -> tuple[Tensor, Tensor]:
    indices = sample_indices(source.n_images, N_RECONSTRUCTIONS, seed=0)
    images = source.images(indices)
    return images, vae.decode(vae.encode(images)[0])


@torch.no_grad()
def traverse(vae: VAE, source: ImageSource, rows: Sequence[Row]) -> Tensor:
    """Frames of a sweep of each row's dimension, around the most typical image of a sample.

    Args:
        vae: The model.
        source: The images.
        rows: Rows of a report's `dims`.

    Returns:
        (len(rows), steps, channels, height, width), from the 1 % to the 99 % quantile of mu.
    """
    mu = encode_means(vae, source, sample_indices(source.n_images, 1000, seed=0))
    centered = (mu - mu.median(dim=0).values) / mu.std(dim=0).clamp(min=0.1)
    base = mu[centered.square().sum(dim=1).argmin()]  # (latent_dim,)
    frames = []
    for row in rows:
        low, high = row["mu_quantiles"]["1"], row["mu_quantiles"]["99"]
        z = base.repeat(TRAVERSAL_STEPS, 1)  # (steps, latent_dim)
        z[:, row["dim"]] = torch.linspace(low, high, TRAVERSAL_STEPS)
        frames.append(vae.decode(z))
    return torch.stack(frames)


def colored(images: Tensor) -> Pixels:
    """(batch, channels, height, width) to (batch, height, width, 3)."""
    channels_last = images.clamp(0, 1).permute(0, 2, 3, 1).double().numpy()
    if channels_last.shape[-1] == 3:
        return channels_last
    return np.repeat(channels_last[..., :1], 3, axis=-1)


def diverging(values: Pixels) -> Pixels:
    """Differences in [-1, 1] to colors: white is none, red above 0, blue below."""
    share = np.abs(values)[..., None]  # (batch, height, width, 1)
    red, blue = np.array([0.80, 0.15, 0.12]), np.array([0.05, 0.35, 0.65])
    tint = np.where(values[..., None] > 0, red, blue)
    return np.asarray(1 - share * (1 - tint))


def sheet(
    strips: Pixels, *, label_width: int, top: int, gap_after: int = -1
) -> tuple[Figure, list[Axes]]:
    """A figure with one axis a strip, sized so that image pixels fall on whole screen pixels.

    Args:
        strips: (rows, steps, height, width, 3).
        label_width: Screen pixels left of the strips.
        top: Screen pixels above them.
        gap_after: Row after which a wider gap follows; -1 for none.
    """
    rows, steps, height, width, _ = strips.shape
    zoom = max(1, round(72 / height))
    height, width = height * zoom, width * zoom
    wide = 14 if 0 <= gap_after < rows - 1 else 0
    total_width = label_width + steps * (width + GAP) + 12
    total_height = top + rows * (height + GAP) + wide + 12
    figure = Figure((total_width / DPI, total_height / DPI), dpi=DPI, facecolor="white")
    axes = []
    for row, strip in enumerate(strips):
        canvas = np.ones((height, steps * (width + GAP) - GAP, 3))
        for step, frame in enumerate(strip):
            left = step * (width + GAP)
            canvas[:, left : left + width] = frame.repeat(zoom, axis=0).repeat(zoom, axis=1)
        bottom = total_height - top - (row + 1) * (height + GAP) - wide * (0 <= gap_after < row)
        box = (label_width, bottom, canvas.shape[1], height)
        scale = (total_width, total_height) * 2
        axis = figure.add_axes(tuple(size / full for size, full in zip(box, scale, strict=True)))
        axis.imshow(canvas, interpolation="none", aspect="auto")
        axis.set_axis_off()
        axes.append(axis)
    return figure, axes


def label(axis: Axes, *lines: str, faint: bool = False) -> None:
    """Lines of text left of an axis, the first one in bold."""
    for number, line in enumerate(lines):
        offset = (len(lines) - 1) * 7.5 - 15 * number
        axis.annotate(
            line,
            (0, 0.5),
            xytext=(-10, offset),
            xycoords="axes fraction",
            textcoords="offset pixels",
            ha="right",
            va="center",
            fontsize=9 if number == 0 else 7.5,
            fontweight="bold" if number == 0 and not faint else "normal",
            color=MUTED if faint or number else INK,
        )


def _ends(figure: Figure, axis: Axes, left: str, right: str) -> None:
    for x, text, side in ((0, left, "left"), (1, right, "right")):
        axis.annotate(
            text,
            (x, 1),
            xytext=(0, 6),
            xycoords="axes fraction",
            textcoords="offset pixels",
            ha=side,
            va="bottom",
            fontsize=8.5,
            color=MUTED,
        )
