"""The comparison's picture: KL and relevance by dimension and method, and RF-VAE's traversals."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image
from results_rows import COMPARED
from results_table import METRICS, Result, Results, pictured

from training.charts import ACCENT, INK, LINE, MUTED, NUISANCE, TITLE
from training.figures import DPI, GAP

SOURCE_KEY = "Source"  # of the picture's text: what it was made from
# Where `training.figures.traversals_figure` puts its frames, in pixels.
LABEL_WIDTH, TOP, FRAME = 190, 34 + GAP, 64
RIGHT = 12
LABEL_BESIDE = 120
WIDTH, BARS_HEIGHT = 1000, 330
LOWEST_KL = 0.01  # nats: below it a bar has no height


def missing(results: Results, results_dir: Path) -> list[str]:
    """What the picture still needs: rows with a scored run, and RF-VAE's traversals."""
    needed = [f"a scored run of {name}" for name in COMPARED if pictured(results, name) is None]
    rf_vae = pictured(results, COMPARED[-1])
    if rf_vae is not None and not _traversals(rf_vae, results_dir).is_file():
        needed.append(f"{_traversals(rf_vae, results_dir).name}, by `rfvae-train report`")
    return needed


def source_of(results: Results, results_dir: Path) -> str:
    """A hash over all that the picture shows."""
    runs = [pictured(results, name) for name in COMPARED]
    content = json.dumps(runs, sort_keys=True).encode()
    rf_vae = runs[-1]
    assert rf_vae is not None
    return hashlib.sha256(content + _traversals(rf_vae, results_dir).read_bytes()).hexdigest()


def draw(results: Results, results_dir: Path, path: Path) -> None:
    """Write the picture; nothing may be `missing`."""
    runs = [run for name in COMPARED if (run := pictured(results, name)) is not None]
    strips = frames_in(_traversals(runs[-1], results_dir), len(runs[-1]["relevant_dims"]))
    height = BARS_HEIGHT + 40 + len(strips) * (FRAME + GAP)
    figure = Figure((WIDTH / DPI, height / DPI), dpi=DPI, facecolor="white")
    highest = max(max(run["mean_kl"]) for run in runs)
    for place, run in enumerate(runs):
        _panel(figure, run, place, highest=highest, height=height)
    _sweeps(figure, runs[-1], strips, height=height)
    text = {"Software": None, SOURCE_KEY: source_of(results, results_dir)}
    figure.savefig(path, dpi=DPI, metadata=text)


def made_from(path: Path) -> str | None:
    """The hash in a picture, or None where there is no picture."""
    if not path.is_file():
        return None
    with Image.open(path) as picture:
        return str(picture.info.get(SOURCE_KEY))


def _traversals(run: Result, results_dir: Path) -> Path:
    return results_dir / f"{run['row']}-s{run['seed']}.png"


def frames_in(path: Path, n_rows: int) -> list[NDArray[np.uint8]]:
    """The strips of the relevant dimensions, cut out of the run's own picture."""
    with Image.open(path) as picture:
        pixels = np.asarray(picture.convert("RGB"))
    tops = [TOP + row * (FRAME + GAP) for row in range(n_rows)]
    return [pixels[top : top + FRAME, LABEL_WIDTH : pixels.shape[1] - RIGHT - GAP] for top in tops]


def _panel(figure: Figure, run: Result, place: int, *, highest: float, height: int) -> None:
    """One method: bars of KL above bars of relevance, by falling KL, relevant ones in color."""
    order = sorted(range(len(run["mean_kl"])), key=lambda dim: -run["mean_kl"][dim])
    colors = [ACCENT if dim in run["relevant_dims"] else NUISANCE for dim in order]
    left, width = 62 + place * 316, 288
    upper = figure.add_axes(_box(left, 46, width, 150, height))
    upper.bar(range(len(order)), [run["mean_kl"][dim] for dim in order], color=colors, width=0.74)
    upper.set_yscale("log")
    upper.set_ylim(LOWEST_KL, 3 * highest)
    for x, dim in enumerate(order):
        kl = run["mean_kl"][dim]
        if kl >= LOWEST_KL:
            upper.annotate(f"{kl:.1f}" if kl >= 1 else f"{kl:.2f}", (x, kl), **_ABOVE)
    _heading(upper, run)
    lower = figure.add_axes(_box(left, 220, width, 52, height))
    lower.bar(range(len(order)), [run["relevance"][dim] for dim in order], color=colors, width=0.74)
    lower.set_ylim(0, 1.08)
    lower.set_yticks([0, 1])
    lower.set_xticks(range(len(order)), [_factor(run, dim) for dim in order])
    lower.tick_params(axis="x", labelrotation=40, length=0)
    for label in lower.get_xticklabels():
        label.set_ha("right")
        label.set_rotation_mode("anchor")
    if place == 0:
        upper.set_ylabel("mean KL (nats)", color=INK, fontsize=9)
        lower.set_ylabel("relevance", color=INK, fontsize=9)
    else:  # the scales are those of the first panel
        upper.tick_params(axis="y", which="both", labelleft=False)
        lower.tick_params(axis="y", labelleft=False)
    upper.set_xticks([])
    if len(set(run["relevance"])) == 1:
        lower.annotate("no gate", (1, 1.02), xycoords="axes fraction", ha="right", **_NOTE)
    for axis in (upper, lower):
        axis.set_xlim(-0.6, len(order) - 0.4)
        _plain(axis)


_ABOVE: dict[str, Any] = {
    "xytext": (0, 2),
    "textcoords": "offset points",
    "ha": "center",
    "fontsize": 7.5,
    "color": INK,
}
_NOTE: dict[str, Any] = {"fontsize": 8.5, "color": MUTED, "va": "bottom"}


def _box(left: int, top: int, width: int, tall: int, height: int) -> tuple[float, ...]:
    """Pixels from the upper left corner, as shares of the figure."""
    return left / WIDTH, 1 - (top + tall) / height, width / WIDTH, tall / height


def _heading(axis: Axes, run: Result) -> None:
    axis.set_title(run["method"], pad=20, fontweight="bold", **TITLE)
    kind = "relevant" if len(set(run["relevance"])) > 1 else "active"
    votes = run["metrics"].get(METRICS["II"])
    score = f", Metric II {100 * votes['paper']['score']:.1f} %" if votes else ""
    text = f"{run['n_relevant']} {kind} for {len(run['factor_names'])} factors{score}"
    axis.annotate(
        text,
        (0, 1),
        xytext=(0, 6),
        xycoords="axes fraction",
        textcoords="offset points",
        fontsize=9,
        color=MUTED,
    )


def _factor(run: Result, dim: int) -> str:
    return str(run["factor_of_dim"].get(str(dim), "?")) if dim in run["relevant_dims"] else ""


def _plain(axis: Axes) -> None:
    for side in ("top", "right"):
        axis.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axis.spines[side].set_color(LINE)
    axis.tick_params(colors=INK, labelsize=8.5, color=LINE, which="both")
    axis.set_axisbelow(True)


def _sweeps(
    figure: Figure, run: Result, strips: Sequence[NDArray[np.uint8]], *, height: int
) -> None:
    """What each relevant dimension of RF-VAE does, in a column of strips."""
    for row, (dim, strip) in enumerate(zip(run["relevant_dims"], strips, strict=True)):
        top = BARS_HEIGHT + 28 + row * (FRAME + GAP)
        wide, tall = strip.shape[1], strip.shape[0]
        axis = figure.add_axes(_box(62 + LABEL_BESIDE, top, wide, tall, height))
        axis.imshow(strip, interpolation="none", aspect="auto")
        axis.set_axis_off()
        for offset, text, style in (
            (7, _factor(run, dim), {"fontweight": "bold", "color": INK, "fontsize": 9}),
            (-8, f"{run['mean_kl'][dim]:.1f} nats", {"color": MUTED, "fontsize": 8}),
        ):
            axis.annotate(
                text,
                (0, 0.5),
                xytext=(-8, offset),
                xycoords="axes fraction",
                textcoords="offset points",
                ha="right",
                va="center",
                **style,
            )
        if row == 0:
            axis.set_title(
                "RF-VAE: each relevant dimension, swept from its 1 % to its 99 % quantile", **TITLE
            )
