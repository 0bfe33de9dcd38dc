"""`rfvae-train compare`: several runs on the same images, and how often each factor is found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from training.checkpoint import LoadedRun, load_model
from training.compare_figures import draw_comparison
from training.comparison import Comparison, Found, KnownFactors, RunCodes, compare_codes, describe
from training.data import ImageSource
from training.data.parts import whole_source
from training.encoding import encode_means, sample_indices
from training.errors import ConfigError, DataError
from training.metrics.matching import DEFAULT_MATCHING, Matching
from training.report import report_of_run
from training.run_folder import COMPARISON, FORMAT_VERSION, write_json
from training.run_images import open_run_images

N_IMAGES = 5000


def compare_runs(
    run_dirs: Sequence[Path],
    *,
    out: Path | None = None,
    matching: Matching = DEFAULT_MATCHING,
    seed: int = 0,
    console: Console | None = None,
) -> dict[str, Any]:
    """Print, and with `out` write, which dimensions the runs share.

    Args:
        run_dirs: Two or more folders of runs on the same images.
        out: Folder for `compare.json`, `matches.png` and `traversals.png`.
        matching: When two dimensions are the same one.
        seed: Of the sample of images.
        console: Where the tables go; the terminal by default.

    Returns:
        The content of `compare.json`.

    Raises:
        TrainingError: There are fewer than two runs, one comes twice, or they saw other images.
    """
    console = console or Console()
    _require_several(run_dirs)
    loaded = [load_model(folder) for folder in run_dirs]
    _require_same_images(run_dirs, loaded)
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
    sources = _open_all(loaded)
    whole = whole_source(sources[0])
    indices = sample_indices(whole.n_images, N_IMAGES, seed=seed)
    runs = []
    for folder, run, source in zip(run_dirs, loaded, sources, strict=True):
        with console.status(f"Looking at {escape(str(folder))}"):
            report = report_of_run(folder, run, source)
            codes = encode_means(run.vae, whole_source(source), indices).double().numpy()
            runs.append(RunCodes(str(folder), _facts(run), report=report, codes=codes))
    with console.status("Matching"):
        comparison = compare_codes(
            runs,
            factors=_known_factors(sources, indices),
            matching=matching,
            seed=seed,
        )
    content = {
        "format_version": FORMAT_VERSION,
        "data": {key: loaded[0].run_info["data"][key] for key in ("name", "sha256")},
        "n_images": len(indices),
        "seed": seed,
        **asdict(matching),
        **describe(comparison, similarity=matching.similarity),
    }
    _print(console, comparison, content)
    if out is not None:
        write_json(out / COMPARISON, content)
        models = [run.vae for run in loaded]
        pictures = draw_comparison(out, comparison, models, sources, similarity=matching.similarity)
        for path in (out / COMPARISON, *pictures):
            _say(console, f"written: {path}")
    return content


def _require_several(run_dirs: Sequence[Path]) -> None:
    if len(run_dirs) < 2:
        raise ConfigError(
            f"a comparison needs two runs or more: got {len(run_dirs)}; train the same "
            "configuration again with another --seed"
        )
    places = [folder.resolve() for folder in run_dirs]
    twice = [
        folder for folder, place in zip(run_dirs, places, strict=True) if places.count(place) > 1
    ]
    if twice:
        raise ConfigError(f"each run is compared once: `{twice[0]}` is given twice")


def _require_same_images(run_dirs: Sequence[Path], runs: Sequence[LoadedRun]) -> None:
    def seen(run: LoadedRun) -> tuple[str, tuple[int, ...]]:
        return run.run_info["data"]["sha256"], run.vae.image_shape

    for folder, run in zip(run_dirs, runs, strict=True):
        if seen(run) != seen(runs[0]):
            raise DataError(
                f"runs are compared over the same images: `{run_dirs[0]}` saw "
                f"{_images_of(runs[0])} and `{folder}` {_images_of(run)}; compare runs of one set"
            )


def _images_of(run: LoadedRun) -> str:
    size = "x".join(str(side) for side in run.vae.image_shape)
    data = run.run_info["data"]
    return f"{data['name']} of {size} (SHA-256 {data['sha256'][:12]}…)"


def _open_all(runs: Sequence[LoadedRun]) -> list[ImageSource]:
    """The images of each run; those of runs with the same settings are opened once."""
    opened: dict[str, ImageSource] = {}
    sources = []
    for run in runs:
        key = run.config.data.model_dump_json()
        if key not in opened:
            opened[key] = open_run_images(run)
        sources.append(opened[key])
    return sources


def _known_factors(sources: Sequence[ImageSource], indices: torch.Tensor) -> KnownFactors | None:
    """Those of the first run that has any: all runs are of the same images."""
    known = (factors for one in sources if (factors := whole_source(one).factors) is not None)
    factors = next(known, None)
    if factors is None:
        return None
    return KnownFactors(factors.factor_names, factors.factors_of(indices).numpy())


def _facts(run: LoadedRun) -> dict[str, Any]:
    return {
        "seed": run.config.run.seed,
        "status": run.run_info.get("status"),
        "step": run.step,
        "latent_dim": run.vae.latent_dim,
    }


def _print(console: Console, comparison: Comparison, content: dict[str, Any]) -> None:
    console.print(runs_table(content))
    console.print(clusters_table(comparison))
    best = content["runs"][comparison.udr.details["best_run"]]["run"]
    _say(
        console,
        f"same: mean |{content['similarity'].capitalize()} correlation| of at least "
        f"{content['min_correlation']:g} over {content['n_images']:,} images; a sign says which "
        "way a dimension grows beside that of the first run",
    )
    _say(console, f"UDR {content['udr']['score']:.3f}; best run: {best}")
    for factor in content["factors"]:
        _say(console, f"{factor['name']}: found in {factor['n_found']} of {factor['n_runs']} runs")
    for run in content["runs"]:
        if run["status"] != "finished":
            _say(console, f"note: {run['run']} is {run['status']} at step {run['step']:,}")


def runs_table(content: dict[str, Any]) -> Table:
    """One row a run: how many relevant dimensions, and how well it agrees with the others."""
    table = Table(title="runs", title_style="bold", box=box.SIMPLE_HEAD)
    for column in ("", "run", "seed", "relevant", "UDR"):
        table.add_column(column, justify="left" if column == "run" else "right")
    for number, run in enumerate(content["runs"], start=1):
        table.add_row(
            str(number),
            escape(run["run"]),
            str(run["seed"]),
            f"{run['n_relevant']} of {run['latent_dim']}",
            f"{run['udr']:.3f}",
        )
    return table


def clusters_table(comparison: Comparison) -> Table:
    """One row a cluster: its factor, in how many runs, how alike, and each run's dimension."""
    table = Table(title="relevant dimensions", title_style="bold", box=box.SIMPLE_HEAD)
    known = bool(comparison.factor_names)
    for column in (*(["factor", "share"] if known else []), "found in", "|corr.|"):
        table.add_column(column, justify="left" if column == "factor" else "right", no_wrap=True)
    for number in range(len(comparison.runs)):
        table.add_column(str(number + 1), justify="right", no_wrap=True)
    for one in comparison.found:
        table.add_row(*_cells(one, comparison, known=known))
    return table


def _cells(one: Found, comparison: Comparison, *, known: bool) -> list[str]:
    factor = [escape(one.factor or "none"), f"{one.share:.0%}"] if known else []
    alike = "" if np.isnan(one.correlation) else f"{one.correlation:.2f}"
    dims = dict.fromkeys(range(len(comparison.runs)), ".")
    for (run, dim), sign in zip(one.members, one.signs, strict=True):
        dims[run] = f"{'+' if sign > 0 else '-'}{dim}"
    return [*factor, f"{len(one.members)} of {len(dims)}", alike, *dims.values()]


def _say(console: Console, message: str) -> None:
    console.print(message, markup=False, highlight=False, soft_wrap=True)
