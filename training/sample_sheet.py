"""What drawn sets look like: lines of text, and a sheet of samples with one row a factor."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from training.config import DataConfig
from training.data import DRAWN, GroundTruth, ImageSource, open_images
from training.data.catalog import Drawn
from training.errors import DataError
from training.figures import colored, label, save_figure, sheet

COLUMNS = 10
SAMPLE_ROWS = 3


def describe_sets(name: str | None) -> list[str]:
    """Two lines a set: what it shows and how large it is, and its factors; all sets by default.

    Raises:
        DataError: There is no set of that name.
    """
    if name is not None and name not in DRAWN:
        raise DataError(f"the sets are {', '.join(DRAWN)}: got `{name}`; choose one of them")
    chosen = DRAWN if name is None else {name: DRAWN[name]}
    return [line for key, drawn in chosen.items() for line in _describe(key, drawn)]


def _describe(name: str, drawn: Drawn) -> list[str]:
    if drawn.factors is None:
        return [f"{name}: {drawn.summary}"]
    factors = drawn.factors
    *small, large = (str(size) for size in drawn.sizes)
    sizes = f"{', '.join(small)} or {large}"
    pairs = zip(factors.factor_names, factors.factor_sizes, strict=True)
    return [
        f"{name}: {factors.n_images:,} images, {sizes} pixels wide: {drawn.summary}",
        "    factors: " + ", ".join(f"{factor} {size}" for factor, size in pairs),
    ]


def draw_sheet(config: DataConfig, path: Path, *, seed: int = 0) -> None:
    """Draw a sheet of a set into a PNG file.

    Raises:
        DataError: The set cannot be opened or holds vectors, or the file is to be no PNG.
    """
    if path.suffix.lower() != ".png":
        raise DataError(f"a sheet is a PNG file: got `{path}`; choose a name that ends in `.png`")
    source = open_images(config)
    if len(source.image_shape) != 3:
        raise DataError(
            f"only images can be drawn: `{source.name}` holds rows of {source.image_shape[0]} "
            "numbers; open it with `training.data.open_images`"
        )
    save_figure(samples_figure(source, seed=seed), path)


def samples_figure(source: ImageSource, *, seed: int) -> Figure:
    """Rows of random images, then, for a grid, one row a factor with the others at the middle."""
    picked = np.random.default_rng(seed).integers(source.n_images, size=COLUMNS * SAMPLE_ROWS)
    rows = list(torch.split(torch.from_numpy(picked), COLUMNS))
    labels: list[tuple[str, ...]] = [("samples",), *[("",)] * (SAMPLE_ROWS - 1)]
    if isinstance(source.factors, GroundTruth):
        for k, name in enumerate(source.factors.factor_names):
            rows.append(_sweep(source.factors, k))
            labels.append((name, f"{source.factors.factor_sizes[k]} values"))
    strips = np.stack([colored(source.images(row)) for row in rows])
    figure, axes = sheet(strips, label_width=130, top=12, gap_after=SAMPLE_ROWS - 1)
    for axis, lines in zip(axes, labels, strict=True):
        label(axis, *lines)
    return figure


def _sweep(factors: GroundTruth, factor: int) -> Tensor:
    """Indices of the images in which `factor` goes through its values, others at the middle."""
    sizes = torch.tensor(factors.factor_sizes)
    classes = (sizes // 2).repeat(COLUMNS, 1)  # (COLUMNS, n_factors)
    steps = torch.linspace(0, factors.factor_sizes[factor] - 1, COLUMNS)
    classes[:, factor] = steps.round().long()
    return factors.indices_of(classes)
