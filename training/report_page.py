"""`report.html`: the relevance report as one page to read, look at and send, without a network.

One section a relevant dimension, as in clinical papers on learned drawings: what its sweep does to
a typical image, in words and as a map of the pixels that change, and which real images lie at its
two ends.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from PIL import Image

from training.data import ImageSource
from training.drawing_changes import signed_change
from training.encoding import encode_means, sample_indices
from training.figures import MAX_ROWS, Pixels, colored, diverging, traverse
from training.networks import VAE
from training.relevance_votes import ordered_rows
from training.report_text import NOTHING_MEASURED, NOTHING_RELEVANT, Report

SAMPLE = 2000  # images among which the ends of a dimension are looked for
N_EXAMPLES = 4
SHORTEST_SIDE = 64  # screen pixels of a small image


@dataclass(frozen=True)
class Exhibit:
    """What the page shows of one relevant dimension.

    Attributes:
        row: Its entry of the report's `dims`.
        sweep: Frames from its 1 % to its 99 % quantile, as a data URL; empty for rows of numbers,
            as are the following.
        change: The last frame less the first: red brighter, blue darker.
        low: Images of the training set at its lower end.
        high: At its upper end.
    """

    row: dict[str, Any]
    sweep: str = ""
    change: str = ""
    low: str = ""
    high: str = ""


def report_page(report: Report, vae: VAE, source: ImageSource, *, figures: Sequence[Path]) -> str:
    """The page as HTML.

    Args:
        report: The content of `report.json`.
        vae: The model, in evaluation mode on the CPU.
        source: The images it was trained on.
        figures: Those of `draw_report_figures`; they become a part of the page.
    """
    rows = [report["dims"][dim] for dim in report["relevant_dims"]][:MAX_ROWS]
    is_picture = len(vae.image_shape) == 3
    sample = "image" if is_picture else "row"
    return _template().render(
        report=report,
        run=report["run"],
        exhibits=_exhibits(vae, source, rows) if is_picture else [Exhibit(row) for row in rows],
        all_rows=ordered_rows(report),
        figures={path.stem: _data_url(path.read_bytes()) for path in figures},
        sample=sample,
        nothing_relevant=NOTHING_RELEVANT.format(sample=sample),
        nothing_measured=NOTHING_MEASURED[sample],
    )


def _exhibits(vae: VAE, source: ImageSource, rows: Sequence[dict[str, Any]]) -> list[Exhibit]:
    if not rows:
        return []
    indices = sample_indices(source.n_images, SAMPLE, seed=0)
    mu = encode_means(vae, source, indices)  # (n, latent_dim)
    exhibits = []
    for row, frames in zip(rows, traverse(vae, source, rows), strict=True):
        ends = mu[:, row["dim"]].argsort(stable=True)
        low, high = (
            source.images(indices[ends[part]])
            for part in (slice(None, N_EXAMPLES), slice(-N_EXAMPLES, None))
        )
        exhibits.append(
            Exhibit(
                row=row,
                sweep=_strip(colored(frames)),
                change=_strip(diverging(signed_change(frames)[None])),
                low=_strip(colored(low)),
                high=_strip(colored(high)),
            )
        )
    return exhibits


def _strip(images: Pixels) -> str:
    """Images (n, height, width, 3) in [0, 1] side by side, as the data URL of a PNG."""
    zoom = max(1, round(SHORTEST_SIDE / min(images.shape[1:3])))
    large = images.repeat(zoom, axis=1).repeat(zoom, axis=2)
    framed = np.pad(large, ((0, 0), (0, 0), (0, 2), (0, 0)), constant_values=1.0)
    row = np.concatenate(list(framed), axis=1)[:, :-2]
    file = io.BytesIO()
    Image.fromarray(np.rint(row * 255).astype(np.uint8)).save(file, "PNG", optimize=True)
    return _data_url(file.getvalue())


def _data_url(png: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"


@cache
def _template() -> Template:
    environment = Environment(
        loader=PackageLoader("training", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("report_page.html")
