"""Reads what training left behind and says what speaks against exporting it."""

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from onnx_export.errors import ExportError
from training.checkpoint import LoadedRun, load_model
from training.config import Config
from training.data.standardization import Standardization, standardization_of
from training.errors import as_typed
from training.networks import VAE
from training.run_images import open_run_images

REPORT_FORMAT = 1
COARSEST_STEP = 0.01  # of float32 at a column's mean, in standard deviations of the column


@dataclass(frozen=True)
class TrainedRun:
    """One training with its relevance report, and its scores if it was evaluated.

    Attributes:
        path: the run folder.
        loaded: the model.
        report: what `report.json` says.
        evaluation: what `evaluation.json` says.
        is_pruned: whether `evaluation` is that of the model before pruning.
    """

    path: Path
    loaded: LoadedRun
    report: Mapping[str, Any]
    evaluation: Mapping[str, Any] | None
    is_pruned: bool = False

    @property
    def vae(self) -> VAE:
        """The model, in evaluation mode on the CPU."""
        return self.loaded.vae

    @property
    def config(self) -> Config:
        """The resolved configuration."""
        return self.loaded.config

    @cached_property
    def vectors(self) -> Standardization | None:
        """Of a run on rows of numbers: the columns, and what the model sees of them."""
        if len(self.vae.image_shape) == 3:
            return None
        found = Standardization.of_run(self.info["data"])
        return found or standardization_of(open_run_images(self.loaded))

    @property
    def pruned_from(self) -> Mapping[str, Any] | None:
        """What `rfvae-train prune` says of the run that it made this one from, if it did."""
        found: Mapping[str, Any] | None = self.info.get("pruned_from")
        return found

    @property
    def info(self) -> Mapping[str, Any]:
        """What `run.json` says."""
        return self.loaded.run_info


def read_run(path: Path) -> TrainedRun:
    """Load the checkpoint and the reports beside it.

    Raises:
        ExportError: there is no report, or it cannot be read; the text names the command to run.
        TrainingError: the folder holds no run, or its checkpoint cannot be read.
    """
    loaded = load_model(path)
    return TrainedRun(
        path=path,
        loaded=loaded,
        report=_read_report(path),
        evaluation=_read_json(path / "evaluation.json"),
    )


def doubts(run: TrainedRun) -> list[str]:
    """Say why this run may not be worth exporting; empty for a good one."""
    return [
        *_unfinished(run),
        *_stale(run),
        *_of_another_run(run),
        *_not_finite(run),
        *_nothing_relevant(run),
        *_coarse_columns(run),
    ]


def _read_report(path: Path) -> Mapping[str, Any]:
    report = _read_json(path / "report.json")
    if report is None:
        raise ExportError(
            f"export needs the relevance report: `{path / 'report.json'}` is missing; run "
            f"`rfvae-train report {as_typed(path)}` first"
        )
    if report.get("format_version") != REPORT_FORMAT:
        raise ExportError(
            f"`report.json` must have format {REPORT_FORMAT}: got "
            f"{report.get('format_version')!r}; run `rfvae-train report {as_typed(path)}` again"
        )
    return report


def _read_json(path: Path) -> Mapping[str, Any] | None:
    if not path.is_file():
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ExportError(f"`{path}` must be JSON: {error}; write it again") from None
    if not isinstance(content, dict):
        raise ExportError(f"`{path}` must be a JSON object: got {type(content).__name__}")
    return content


def _unfinished(run: TrainedRun) -> Iterator[str]:
    status = run.info.get("status")
    if status != "finished":
        yield (
            f"it is not finished: status `{status}` at step {run.loaded.step} of "
            f"{run.info.get('steps')}; go on with `rfvae-train resume {as_typed(run.path)}`"
        )


def _stale(run: TrainedRun) -> Iterator[str]:
    steps = {
        "report": run.report.get("run", {}).get("step", run.loaded.step),
        "evaluation": (run.evaluation or {}).get("step", run.loaded.step),
    }
    commands = {"report": "report", "evaluation": "evaluate"}
    for name, step in steps.items():
        if step != run.loaded.step:
            yield (
                f"its {name} is out of date: `{name}.json` describes step {step}, the checkpoint "
                f"is at step {run.loaded.step}; run `rfvae-train {commands[name]} "
                f"{as_typed(run.path)}` again"
            )


def _of_another_run(run: TrainedRun) -> Iterator[str]:
    described = run.report.get("run", {})
    for key in ("seed", "created", "data"):
        if key in described and described[key] != run.info.get(key):
            yield (
                f"its report is of another run: `report.json` has another `{key}` than `run.json`; "
                f"run `rfvae-train report {as_typed(run.path)}` again"
            )
            return


def _not_finite(run: TrainedRun) -> Iterator[str]:
    for name, tensor in run.vae.state_dict().items():
        wrong = int((~torch.isfinite(tensor)).sum())
        if wrong:
            yield (
                f"its weights are not finite: {wrong} of {tensor.numel()} values of `{name}` are "
                "NaN or infinite; train again with a lower `optimizer.learning_rate`"
            )
            return
    if not _is_finite(run.report["dims"]):
        yield "`report.json` has values that are NaN or infinite; train again"


def _nothing_relevant(run: TrainedRun) -> Iterator[str]:
    if not run.report["relevant_dims"]:
        yield (
            "no dimension is relevant, so there is nothing to serve; train longer, or lower "
            "`objective.kl_weight_max` or `objective.sparsity_weight`"
        )


def _coarse_columns(run: TrainedRun) -> Iterator[str]:
    """A graph takes float32: a time in seconds since 1970 has steps of two minutes."""
    vectors = run.vectors
    if vectors is None:
        return
    steps = np.spacing(np.abs(vectors.offset).astype(np.float32))
    for name, step, scale in zip(vectors.columns, steps, vectors.scale, strict=True):
        if step > COARSEST_STEP * scale:
            yield (
                f"column `{name}` varies by {scale:.3g} around a value at which float32 has steps "
                f"of {step:.3g}, so the graph cannot tell its rows apart; subtract a constant from "
                "the column and train again"
            )


def _is_finite(value: Any) -> bool:
    if isinstance(value, Mapping):
        return all(_is_finite(part) for part in value.values())
    if isinstance(value, list):
        return all(_is_finite(part) for part in value)
    return not isinstance(value, float) or math.isfinite(value)
