"""From run folders to one JSON file a run: the machine-readable side of the results table."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from results_rows import ROWS, Row

from training.config import Config
from training.config_file import load_config, parse_config
from training.errors import ConfigError

ROOT = Path(__file__).resolve().parents[1]
# What may differ between runs of one row: the seed, and what changes only the cost.
FREE = (
    "run.seed",
    "run.log_every",
    "run.checkpoint_minutes",
    "run.threads",
    "run.device",
    "run.tensorboard",
)
TRAVERSALS = "traversals.png"
Result = dict[str, Any]


class RunRefusedError(Exception):
    """A run folder or a results file that the table cannot take, and why."""


class RunNotReadyError(RunRefusedError):
    """The run goes on, or was not scored yet: nothing is wrong with it."""


def refresh(runs: Path, results: Path, *, root: Path = ROOT) -> list[RunRefusedError]:
    """Write the JSON file and the traversals of every run that is there.

    Args:
        runs: Folder of run folders called NAME-sSEED.
        results: Folder of the JSON files.
        root: Where `training/configs/` is.

    Returns:
        Why runs were left out.
    """
    results.mkdir(parents=True, exist_ok=True)
    problems: list[RunRefusedError] = []
    for row in ROWS:
        for seed, run_dir in _numbered(runs, row):
            try:
                result = collect(run_dir, row, seed, root=root)
            except RunRefusedError as error:
                problems.append(error)
                continue
            path = results / f"{row.name}-s{seed}.json"
            path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
            picture = run_dir / "figures" / TRAVERSALS
            if picture.is_file():
                path.with_suffix(".png").write_bytes(picture.read_bytes())
    return problems


def load(
    results: Path, *, root: Path = ROOT
) -> tuple[dict[str, list[Result]], list[RunRefusedError]]:
    """The results of each row in the order of their seeds, and why files were left out."""
    found: dict[str, list[Result]] = {row.name: [] for row in ROWS}
    problems: list[RunRefusedError] = []
    for row in ROWS:
        for _, path in _numbered(results, row, ending=".json"):
            result = json.loads(path.read_text(encoding="utf-8"))
            config = parse_config(result["config"], origin=path.name)
            try:
                _require_config(config, row, path, root)
            except RunRefusedError as error:
                problems.append(error)
            else:
                found[row.name].append(result)
    return found, problems


def _numbered(folder: Path, row: Row, *, ending: str = "") -> Iterator[tuple[int, Path]]:
    """What is called NAME-sSEED, in the order of the seeds."""
    names = re.compile(rf"{re.escape(row.name)}-s(\d+){re.escape(ending)}")
    paths = folder.iterdir() if folder.is_dir() else ()
    matches = [(names.fullmatch(path.name), path) for path in paths]
    return iter(sorted((int(match[1]), path) for match, path in matches if match))


def collect(run_dir: Path, row: Row, seed: int, *, root: Path = ROOT) -> Result:
    """What the table and the figure need of a run folder.

    Raises:
        RunRefusedError: The run is another one than its name says, still runs, or was not evaluated
            and reported at its last step by this version.
    """
    try:
        return _collect(run_dir, row, seed, root)
    except KeyError as error:
        raise RunRefusedError(
            f"`{run_dir}` must be evaluated and reported by this version: there is no {error}; "
            "do both again"
        ) from error


def _collect(run_dir: Path, row: Row, seed: int, root: Path) -> Result:
    info = _read(run_dir, "run.json")
    if info["seed"] != seed:
        raise RunRefusedError(
            f"`{run_dir}` must be a run with seed {seed}: it has seed {info['seed']}; rename it"
        )
    if info["status"] == "running":
        raise RunNotReadyError(
            f"`{run_dir}` must have ended: it is at step {info['step']:,} of {info['steps']:,}; "
            "wait, or go on with `rfvae-train resume`"
        )
    try:
        config = load_config(run_dir / "config.toml")
    except ConfigError as error:
        raise RunRefusedError(f"`{run_dir}` is no run of this version: {error}") from error
    _require_config(config, row, run_dir, root)
    facts = {
        "format_version": 1,
        "row": row.name,
        "method": row.method,
        "data": row.data,
        "seed": seed,
        "status": info["status"],
        "step": info["step"],
        "seconds": round(info["seconds"]),
        "machine": info.get("machine", info["device"]),
        "code_version": info["code_version"],
        "torch_version": info["torch_version"],
        "data_sha256": info["data"]["sha256"],
        "factor_names": info["data"]["factor_names"],
        "config": config.model_dump(mode="json"),
    }
    return facts | _findings(run_dir, info)


def _findings(run_dir: Path, info: dict[str, Any]) -> Result:
    """The relevant set and the scores; of a failed run that was not looked at, nothing."""
    if info["status"] == "failed" and not (run_dir / "evaluation.json").is_file():
        return {"n_relevant": None}
    report, evaluation = _read(run_dir, "report.json"), _read(run_dir, "evaluation.json")
    if {evaluation["step"], report["run"]["step"]} != {info["step"]}:
        raise RunRefusedError(
            f"`{run_dir}` must be evaluated and reported at its last step, {info['step']:,}: it "
            f"was at {evaluation['step']:,} and {report['run']['step']:,}; do both again"
        )
    further = evaluation["further_metrics"]
    return {
        "n_relevant": report["n_relevant"],
        "relevant_dims": report["relevant_dims"],
        "mean_kl": [round(dim["mean_kl"], 4) for dim in report["dims"]],
        "relevance": [round(dim["relevance"], 4) for dim in report["dims"]],
        "factor_of_dim": _factors_of(evaluation),
        "metrics": {
            name: {way: _score(result) for way, result in ways.items()}
            for name, ways in evaluation["metrics"].items()
        },
        "dci_forest": [
            round(further["dci_forest"][key], 4)
            for key in ("disentanglement", "completeness", "informativeness_nrmse")
        ],
        "dci_images": further["dci_forest"]["n_images"],
        "mig": round(further["mig"]["score"], 4),
        "reconstruction": evaluation["reconstruction"],
        "disagreements": report["disagreements"],
    }


def _read(run_dir: Path, name: str) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads((run_dir / name).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise RunNotReadyError(
            f"`{run_dir}` must hold {name}: it does not; "
            "do `rfvae-train report` and `evaluate` first"
        ) from error
    except (OSError, ValueError) as error:
        raise RunRefusedError(f"`{run_dir / name}` cannot be read: {error}") from error
    return content


def _score(result: dict[str, Any]) -> dict[str, Any]:
    interval = result["ci95"] and [round(end, 5) for end in result["ci95"]]
    return {"score": round(result["score"], 5), "ci95": interval}


def _factors_of(evaluation: dict[str, Any]) -> dict[str, str]:
    """The factor that each relevant dimension answers to, by the held-out votes of Metric II."""
    ways = evaluation["metrics"].get("one_factor_varied_score")
    if ways is None:
        return {}
    names, numbers = evaluation["factor_names"], ways["relevant"]["dim_factor"]
    dims = evaluation["relevant_dims"]
    return {str(dim): names[numbers[dim]] for dim in dims if numbers[dim] >= 0}


def _require_config(config: Config, row: Row, origin: Path, root: Path) -> None:
    expected = load_config(root / row.config)
    ours, theirs = _settings(config), _settings(expected)
    changed = sorted(key for key in theirs if ours[key] != theirs[key])
    if changed:
        raise RunRefusedError(
            f"`{origin}` must have the settings of `{row.config}`: it differs in "
            f"{', '.join(f'`{key}`' for key in changed)}; run the row again"
        )


def _settings(config: Config) -> dict[str, Any]:
    """Every setting that decides the result, by its whole name."""
    tables = config.model_dump(mode="json")
    settings = {
        f"{section}.{key}": value for section, keys in tables.items() for key, value in keys.items()
    }
    return {key: value for key, value in settings.items() if key not in FREE}
