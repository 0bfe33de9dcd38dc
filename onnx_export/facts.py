"""What the run knows, in the words of the manifest."""

import json
import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from textwrap import shorten
from typing import Any

import torch
from torch import Tensor

from onnx_export.graphs import OPSET
from onnx_export.inputs import Samples
from onnx_export.names import complete_names, parse_names
from onnx_export.scores import scores
from onnx_export.trained_run import TrainedRun
from onnx_export.verify import TOLERANCE
from service.models.artifact import (
    FORMAT_VERSION,
    REQUIRED_FILES,
    Dimension,
    FileEntry,
    ImageSpec,
    Manifest,
    Parity,
    Quantiles,
    TrainingFacts,
    VectorSpec,
)
from service.models.manifest import LONGEST_CHANGE
from training.config import Config
from training.config_file import config_sha256
from training.data.polarity import polarity_of
from training.data.standardization import Standardization
from training.likelihood import Gaussian
from training.networks import VAE
from training.run_images import PATH_KEYS
from training.schedules import is_always_zero

QUANTILES = {"1", "5", "25", "50", "75", "95", "99"}  # keys in the report
# In the order of the models that have them: BF-VAE-0, -1 and -2.
BAYES_FACTOR_PRIORS = ("variance", "gamma", "gated-gamma")


def draft_manifest(run: TrainedRun, *, name: str, version: int, images: Samples | None) -> Manifest:
    """All that is known before the graphs are written; files and parity are placeholders.

    `images` are some of the training data, where they can be had.
    """
    report, scale = run.report, likelihood_scale(run.vae)
    plain = run.vectors is None and scale == 1
    return Manifest(
        format_version=1 if plain else FORMAT_VERSION,
        name=name,
        version=version,
        created=run.info["updated"],
        training=training_facts(run),
        image=None if run.vectors else image_spec(run, images),
        vector=vector_spec(run.vectors) if run.vectors else None,
        likelihood=run.config.objective.likelihood,
        likelihood_scale=scale,
        latent_dim=run.vae.latent_dim,
        dimensions=dimensions(report),
        relevant_dims=report["relevant_dims"],
        relevance_rule=report["rule"],
        elbo_quantiles=quantiles(_zero_for_broken(report["elbo_quantiles"])),
        scores={} if run.is_pruned else scores(run.evaluation),
        files={name: FileEntry(sha256="0" * 64, size_bytes=0) for name in REQUIRED_FILES},
        opset=OPSET,
        parity=Parity(mu=0, logvar=0, image=0, batches=[], tolerance=TOLERANCE),
    )


def name_dimensions(run: TrainedRun, names: str) -> TrainedRun:
    """Add a `name` to each row of the report.

    Raises:
        ExportError: from `parse_names` and `complete_names`.
    """
    rows = run.report["dims"]
    complete = complete_names(parse_names(names, len(rows)), len(rows))
    named = [{**row, "name": name} for row, name in zip(rows, complete, strict=True)]
    return replace(run, report={**run.report, "dims": named})


def dimensions(report: Mapping[str, Any]) -> list[Dimension]:
    """One entry a latent dimension, in order.

    Values that are not finite, which only `--force` lets through, become 0.
    """
    return [_dimension(_zero_for_broken(row)) for row in report["dims"]]


def training_facts(run: TrainedRun) -> TrainingFacts:
    """Where the weights come from."""
    data = run.info["data"]
    return TrainingFacts(
        objective=objective_name(run.config),
        config=public_config(run.config).model_dump(mode="json"),
        config_sha256=config_sha256(run.config),
        data_name=data["name"],
        data_source=data["source"],
        data_sha256=data["sha256"],
        n_images=data["n_images"],
        seed=run.info["seed"],
        steps=run.loaded.step,
        seconds=run.info["seconds"],
        code_version=run.info["code_version"],
        torch_version=run.info["torch_version"],
    )


def public_config(config: Config) -> Config:
    """The configuration without the folders of the machine it was trained on."""
    files = {name: getattr(config.data, name) for name in PATH_KEYS}
    names = {name: Path(file.name) for name, file in files.items() if file is not None}
    return config.model_copy(update={"data": config.data.model_copy(update=names)})


def objective_name(config: Config) -> str:
    """Which member of the family the settings describe."""
    if config.objective.prior != "standard":
        return f"bf-vae-{BAYES_FACTOR_PRIORS.index(config.objective.prior)}"
    if config.relevance.mode == "learned":
        return "rf-vae"
    if config.relevance.initial != 1:
        return "rf-vae-0"
    if not is_always_zero(config.objective.tc_weight):
        return "factor-vae" if config.objective.tc_estimator == "discriminator" else "beta-tcvae"
    plain = config.objective.kl_weight_min == 1 and config.objective.capacity is None
    return "vae" if plain else "beta-vae"


def image_spec(run: TrainedRun, images: Samples | None) -> ImageSpec:
    """Shape, and polarity: the report's, or of one that has none yet that of the images.

    Without images it is that of what the mean latent of the training data decodes to.
    """
    channels, height, width = run.vae.image_shape
    return ImageSpec(
        channels=channels,
        height=height,
        width=width,
        polarity=run.report.get("polarity") or polarity_of(_typical_images(run, images)),
    )


def _typical_images(run: TrainedRun, images: Samples | None) -> Tensor:
    """(batch, channels, height, width) in [0, 1]."""
    if images is not None:
        return torch.from_numpy(images) / 255
    rows = run.report["dims"]
    means = [_zero_for_broken(rows[dim]["mu_mean"]) for dim in range(run.vae.latent_dim)]
    with torch.no_grad():
        return run.vae.decode(torch.tensor([means]))


def vector_spec(vectors: Standardization) -> VectorSpec:
    """Columns with offset and scale."""
    return VectorSpec(**vectors.facts())


def likelihood_scale(vae: VAE) -> float:
    """Standard deviation of a Gaussian likelihood; 1 for a Bernoulli one, which has none."""
    if not isinstance(vae.likelihood, Gaussian):
        return 1.0
    return float(vae.likelihood.log_scale.detach().exp())


def quantiles(values: Mapping[str, float]) -> Quantiles:
    """From the report's keys ("1", "5" …) to the manifest's (p1, p5 …)."""
    return Quantiles(**{f"p{percent}": value for percent, value in values.items()})


def graph_metadata(manifest: Manifest, *, precision: str = "float32") -> dict[str, str]:
    """What a graph viewer shows beside the graph."""
    facts: dict[str, Any] = {
        "model": f"{manifest.name} version {manifest.version}",
        "trained": f"{manifest.training.objective} on {manifest.training.data_name}, "
        f"seed {manifest.training.seed}, {manifest.training.steps} steps",
        "precision": precision,
        "relevant_dims": manifest.relevant_dims,
        "relevance_rule": manifest.relevance_rule,
        "names": [dim.name for dim in manifest.dimensions],
        "relevance": [dim.relevance for dim in manifest.dimensions],
        "mean_kl_nats": [dim.mean_kl for dim in manifest.dimensions],
    }
    if manifest.vector is not None:
        facts |= manifest.vector.model_dump()
    for dim in manifest.relevant:
        facts[f"mu_quantiles.{dim.name}"] = dim.mu_quantiles.model_dump()
    return {
        f"rfvae.{key}": value if isinstance(value, str) else json.dumps(value)
        for key, value in facts.items()
    }


def _dimension(row: Mapping[str, Any]) -> Dimension:
    return Dimension(
        dim=row["dim"],
        name=row["name"],
        changes=_changes(row),
        relevance=row["relevance"],
        relevant=row["relevant"],
        mean_kl=max(row["mean_kl"], 0.0),  # a dead dimension's may round to just below it
        mu_mean=row["mu_mean"],
        mu_std=row["mu_std"],
        mu_quantiles=quantiles(row["mu_quantiles"]),
        decoder_sensitivity=row["decoder_sensitivity"],
    )


def _changes(row: Mapping[str, Any]) -> tuple[str, ...]:
    """Those of the report, which of before had none; a column's name in it may be of any length."""
    phrases = row.get("changes", ())
    return tuple(shorten(phrase, LONGEST_CHANGE, placeholder=" …") for phrase in phrases)


def _zero_for_broken(value: Any) -> Any:
    """The value with 0 for what is not finite, and for all of some quantiles if one of them is."""
    if isinstance(value, Mapping):
        finite = {key: _zero_for_broken(part) for key, part in value.items()}
        if finite.keys() == QUANTILES and finite != value:
            return dict.fromkeys(finite, 0.0)
        return finite
    return 0.0 if isinstance(value, float) and not math.isfinite(value) else value
