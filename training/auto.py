"""A configuration for data that nobody described: look at the files, choose, and say what and why.

Whatever the user set explicitly wins, and is taken into account when the rest is chosen.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from training.config import Config, DataConfig
from training.config_file import parse_config
from training.data.array_files import ARRAY_SUFFIXES, open_array
from training.data.image_folder import (
    IMAGE_SUFFIXES,
    ImageFolder,
    image_files,
    looks_gray,
    spread,
)
from training.data.opening import IMAGES, VECTORS, open_images, require_enough
from training.data.parts import whole_source
from training.data.pictures import open_picture
from training.data.polarity import polarity_of
from training.data.source import ImageSource
from training.data.stored_images import find_layout, images_last
from training.data.tables import VECTOR_SUFFIXES
from training.errors import DataError
from training.recipe import Tables, default_steps, recipe

PROBES = 64
USUAL_SIZES = (32, 64)
KEPT_SIZES = range(28, 129)  # square images of these sizes stay as they are
HOLDOUT = 0.1
BINARY_SHARE = 0.98
SQUARE = 1.03  # sides that differ by less are as good as equal
Sides = list[tuple[int, int]]  # (height, width)


@dataclass(frozen=True)
class Choice:
    """A configuration with the sentences that explain it."""

    config: Config
    lines: list[str]


@dataclass(frozen=True)
class _Look:
    """What the files show before anything is opened whole."""

    name: str
    sides: Sides  # of a sample
    channels: int | None


def choose_config(path: Path, explicit: Tables) -> Choice:
    """Choose a configuration for the images or vectors at `path`.

    Args:
        path: A folder of images, an array file, or a table; it wins over `data.path`.
        explicit: What the user set, by section; it wins over what is chosen.

    Raises:
        DataError: There is nothing at `path` that can be read.
        ConfigError: An explicit setting breaks a rule.
    """
    origin = f"the settings for `{path}`"
    for section in ("data", "run"):
        if not isinstance(explicit.get(section, {}), dict):
            parse_config({section: explicit[section]}, origin=origin)  # Says what a section is.
    explicit = _without_path(explicit)
    chosen, sides = _choose_data(path, explicit.get("data", {}))
    data = {**chosen, **explicit.get("data", {})}
    partial = parse_config({"data": data, "run": explicit.get("run", {})}, origin=origin)
    source = open_images(partial.data)
    require_enough(source, partial.data)
    is_given = "steps" in explicit.get("run", {})
    steps = partial.run.steps if is_given else default_steps(source.n_images)
    tables = recipe(steps=steps, image_shape=source.image_shape)
    merged = {"data": data}
    for section in tables.keys() | explicit.keys() - {"data"}:
        merged[section] = _merged(tables.get(section, {}), explicit.get(section, {}))
    config = parse_config(merged, origin=origin)
    samples = "rows" if len(source.image_shape) == 1 else "images"
    lines = [
        *_describe(source, standardized=config.data.standardize),
        *_describe_form(sides),
        *_describe_holdout(source, config.data, samples=samples),
        *_describe_choices(config, explicit, samples=samples),
    ]
    return Choice(config, lines)


def _without_path(explicit: Tables) -> Tables:
    """The settings of a former run name its data: they are repeated on others."""
    if "path" not in explicit.get("data", {}):
        return explicit
    kept = {key: value for key, value in explicit["data"].items() if key != "path"}
    return {**explicit, "data": kept}


def _merged(chosen: dict[str, Any], explicit: Any) -> Any:
    """The two tables in one; what is no table is left for the check of the configuration."""
    return {**chosen, **explicit} if isinstance(explicit, dict) else explicit


def _choose_data(path: Path, explicit: dict[str, Any]) -> tuple[dict[str, Any], Sides]:
    """The section `data`, and the sides of a sample of the images."""
    chosen = {"path": str(path.resolve()), "holdout": HOLDOUT}
    if "name" in explicit and explicit["name"] not in (IMAGES, VECTORS):
        return {**chosen, "holdout": 0.0}, []  # a public set, whose loader knows the rest
    look = _look_at(path, explicit)
    chosen["name"] = look.name
    if look.name == VECTORS:
        return {**chosen, "standardize": True}, []
    chosen["size"] = _choose_size(look.sides)
    if look.channels is not None:
        chosen["channels"] = look.channels
    return chosen, look.sides


def _look_at(path: Path, explicit: dict[str, Any]) -> _Look:
    if not path.exists():
        raise DataError(f"--data must name a folder of images or a file: `{path}` is missing")
    suffix = path.suffix.lower()
    if path.is_dir():
        return _look_at_folder(path)
    if suffix in IMAGE_SUFFIXES:
        raise DataError(f"--data takes a folder of images: got the image `{path}`; give its folder")
    if suffix in VECTOR_SUFFIXES and suffix not in ARRAY_SUFFIXES:
        return _Look(VECTORS, [], None)
    rows = open_array(path, key=explicit.get("key"))
    if explicit.get("name", VECTORS if _looks_like_vectors(rows) else IMAGES) == VECTORS:
        return _Look(VECTORS, [], None)
    shape = rows.shape
    layout = find_layout(
        (shape[-1], *shape[:-1]) if images_last(rows) else shape, origin=f"`{path}`"
    )
    return _Look(IMAGES, [(layout.height, layout.width)], layout.channels)


def _looks_like_vectors(rows: Any) -> bool:
    """Two sides that are no flat square images, or values that are no pixels."""
    if len(rows.shape) != 2:
        return False
    side = round(rows.shape[1] ** 0.5)
    sample = np.asarray(rows[:PROBES])
    if sample.dtype.kind not in "biuf":
        return False  # which is said where it is read
    return side**2 != rows.shape[1] or side < 8 or float(sample.min()) < 0


def _look_at_folder(folder: Path) -> _Look:
    paths = image_files(folder)
    sides, reasons = [], []
    for path in spread(paths, PROBES):
        try:
            image = open_picture(path.read_bytes())
        except (ValueError, OSError) as error:
            reasons.append(f"`{path.name}`: {error}")
            continue  # `open_images` names it, or leaves it out by choice.
        sides.append((image.height, image.width))
    if not sides:
        raise DataError(
            f"none of a sample of {len(reasons)} images in `{folder}` can be read, such as "
            f"{reasons[0]}; save them anew, or give another folder"
        )
    return _Look(IMAGES, sides, 1 if looks_gray(paths) else 3)


def _choose_size(sides: Sides) -> int:
    """The images' own size where all share a square one that fits, else 32 or 64."""
    different = set(sides)
    if len(different) == 1:
        height, width = next(iter(different))
        if height == width and height in KEPT_SIZES:
            return height
    small, large = USUAL_SIZES
    shorter = float(np.median([min(pair) for pair in sides]))
    return large if shorter >= (small + large) / 2 else small


@torch.no_grad()
def _describe(source: ImageSource, *, standardized: bool) -> list[str]:
    if len(source.image_shape) == 1:
        columns = (
            "each column brought to mean 0 and standard deviation 1"
            if standardized
            else "as they are"
        )
        return [
            f"found {source.n_images:,} rows of {source.image_shape[0]} numbers to train on, "
            f"{columns}"
        ]
    probe = torch.unique(torch.linspace(0, source.n_images - 1, PROBES).long())
    images = source.images(probe)  # (probes, channels, height, width)
    channels, height, width = source.image_shape
    color = "gray" if channels == 1 else "color"
    return [
        f"found {source.n_images:,} images to train on; they become {height} x {width} pixels, "
        f"{color}, {polarity_of(images).replace('_', ' ')}, {_values(images)}"
    ]


def _describe_form(sides: Sides) -> list[str]:
    ratios = sorted(height / width for height, width in sides)
    if not ratios or (ratios[0] > 1 / SQUARE and ratios[-1] < SQUARE):
        return []
    span = f"{ratios[0]:.2g}" if ratios[0] == ratios[-1] else f"{ratios[0]:.2g} to {ratios[-1]:.2g}"
    return [
        f"their height is {span} times their width, and they become square: pad them first if "
        "their form matters"
    ]


def _at_the_latest(config: Config) -> str:
    wait_steps = config.relevance.wait_steps
    return f", or up to {wait_steps:,} later where factors come in late" if wait_steps else ""


def _values(images: torch.Tensor) -> str:
    share = float(((images < 0.02) | (images > 0.98)).float().mean())
    return "black and white" if share > BINARY_SHARE else "with levels between"


def _describe_holdout(source: ImageSource, data: DataConfig, *, samples: str) -> list[str]:
    if not data.holdout:
        return []
    whole, together = whole_source(source), data.holdout_by == "folder"
    n_folders = len(set(whole.subfolders)) if isinstance(whole, ImageFolder) else 0
    lines = [
        f"held out: {1 - source.n_images / whole.n_images:.0%} of the {samples}"
        f"{', in whole folders' if together else ''}, which training never sees; "
        "`rfvae-train report` compares them"
    ]
    if not together and 1 / data.holdout <= n_folders:
        lines.append(
            f"the images lie in {n_folders:,} folders: where those of one belong together, as of "
            "one patient, hold out whole folders with `--set data.holdout_by=folder`"
        )
    return lines


def _describe_choices(config: Config, explicit: Tables, *, samples: str) -> list[str]:
    lines = [
        f"chosen: {config.model.latent_dim} latent dimensions, {config.run.steps:,} steps of "
        f"{config.run.batch_size} {samples}, {config.objective.likelihood} likelihood, schedules "
        f"that open the gate at step {config.relevance.frozen_steps:,}{_at_the_latest(config)}"
    ]
    given = [
        f"{section}.{key}"
        for section, table in explicit.items()
        if isinstance(table, dict)
        for key in table
    ]
    lines.append(
        f"as you set it: {', '.join(given)}" if given else "change any of it with --set, or --steps"
    )
    return lines
