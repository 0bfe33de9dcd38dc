import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from onnx_export.facts import (
    dimensions,
    graph_metadata,
    image_spec,
    likelihood_scale,
    name_dimensions,
    objective_name,
    public_config,
    training_facts,
)
from onnx_export.request import Exported
from onnx_export.trained_run import TrainedRun
from training.config import Config
from training.config_file import config_sha256
from training.likelihood import Gaussian
from training.networks import VAE

FIXED = {"relevance": {"mode": "fixed", "initial": 1}}


def test_dimensions_take_the_report_and_the_given_names(run: TrainedRun) -> None:
    first, *_, last = dimensions(name_dimensions(run, "scale=3").report)

    assert (first.dim, first.name, first.relevant) == (0, "z0", False)
    assert (last.dim, last.name, last.relevant) == (3, "scale", True)
    assert (last.mean_kl, last.relevance) == (6.0, 0.9)
    assert last.mu_quantiles.values() == (-2.0, -1.5, -0.5, 0.0, 0.5, 1.5, 2.0)


def test_dimensions_turn_what_is_not_a_number_into_zero(run: TrainedRun) -> None:
    rows = [{**row, "name": "z", "mean_kl": float("nan")} for row in run.report["dims"]]
    rows[0]["mu_quantiles"] = dict.fromkeys(rows[0]["mu_quantiles"], float("inf"))
    found = dimensions({"dims": rows})

    assert [dim.mean_kl for dim in found] == [0.0] * 4
    assert set(found[0].mu_quantiles.values()) == {0.0}


def test_dimensions_shorten_what_names_a_column_of_any_length(run: TrainedRun) -> None:
    phrases = [f"raises {'very ' * 60}long by 1.20 sd", "lowers weight by 0.50 sd"]
    rows = [{**row, "name": "z", "changes": phrases} for row in run.report["dims"]]
    long, short = dimensions({"dims": rows})[0].changes
    assert long.startswith("raises very very")
    assert long.endswith(" …")
    assert short == phrases[1]


def test_training_facts_say_where_the_weights_come_from(run: TrainedRun) -> None:
    facts = training_facts(run)

    assert (facts.objective, facts.data_name, facts.data_source) == (
        "rf-vae",
        "oval-dsprites-32",
        "procedural",
    )
    assert (facts.n_images, facts.seed, facts.steps) == (245_760, 1, 2)
    assert facts.config["model"]["latent_dim"] == 4
    assert facts.config_sha256 == config_sha256(run.config)


def test_public_config_tells_no_folder_of_the_machine() -> None:
    folder = Path("/home/somebody/secret")
    files = {"path": folder / "dsprites.npz", "factors": folder / "factors.csv"}
    public = public_config(Config.model_validate({"data": files})).data
    assert (public.path, public.factors) == (Path("dsprites.npz"), Path("factors.csv"))


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({}, "rf-vae"),
        ({"relevance": {"mode": "fixed", "initial": 1}}, "factor-vae"),
        (
            {
                "model": {"latent_dim": 2},
                "relevance": {"mode": "fixed", "initial": [1, 0]},
            },
            "rf-vae-0",
        ),
        (
            {
                "relevance": {"mode": "fixed", "initial": 1},
                "objective": {"tc_weight": 0, "kl_weight_min": 4},
            },
            "beta-vae",
        ),
        (
            {
                "relevance": {"mode": "fixed", "initial": 1},
                "objective": {"tc_weight": 0, "kl_weight_min": 1},
            },
            "vae",
        ),
    ],
)
def test_objective_name_is_the_member_of_the_family(changes: dict[str, Any], name: str) -> None:
    assert objective_name(Config.model_validate(changes)) == name


@pytest.mark.parametrize(("ground", "polarity"), [(0, "light_on_dark"), (255, "dark_on_light")])
def test_image_spec_takes_the_polarity_from_the_border(
    run: TrainedRun, ground: int, polarity: str
) -> None:
    images = np.full((2, 1, 32, 32), ground, np.uint8)
    images[..., 1:-1, 1:-1] = 255 - ground
    spec = image_spec(run, images)

    assert (spec.channels, spec.height, spec.width, spec.polarity) == (1, 32, 32, polarity)


@pytest.mark.parametrize("polarity", ["light_on_dark", "dark_on_light"])
def test_image_spec_takes_the_polarity_from_the_report(run: TrainedRun, polarity: str) -> None:
    known = replace(run, report={**run.report, "polarity": polarity})
    assert image_spec(known, None).polarity == polarity


@pytest.mark.parametrize(("ground", "polarity"), [(0.0, "light_on_dark"), (1.0, "dark_on_light")])
def test_image_spec_without_images_takes_the_polarity_from_the_mean_latent(
    run: TrainedRun, monkeypatch: pytest.MonkeyPatch, ground: float, polarity: str
) -> None:
    means = torch.tensor([[0.25, 0.5, 0.75, 1.0]])
    rows = [{"mu_mean": mean} for mean in means[0].tolist()]

    def decode(z: torch.Tensor) -> torch.Tensor:
        return torch.full((1, 1, 32, 32), ground if torch.equal(z, means) else 1 - ground)

    monkeypatch.setattr(run.vae, "decode", decode)
    assert image_spec(replace(run, report={"dims": rows}), None).polarity == polarity


def test_graph_metadata_shows_relevance_names_and_ranges(exported: Exported) -> None:
    facts = graph_metadata(exported.manifest)

    assert facts["rfvae.model"] == "oval-dsprites-32 version 1"
    assert facts["rfvae.trained"] == "rf-vae on oval-dsprites-32, seed 1, 2 steps"
    assert json.loads(facts["rfvae.relevant_dims"]) == [3, 1]
    assert json.loads(facts["rfvae.names"]) == ["z0", "z1", "z2", "scale"]
    assert json.loads(facts["rfvae.mu_quantiles.scale"])["p99"] == 2.0


def test_likelihood_scale_is_what_a_gaussian_learned() -> None:
    likelihood = Gaussian("learned", bounded=True)
    vae = VAE((1, 32, 32), latent_dim=2, likelihood=likelihood)
    with torch.no_grad():
        likelihood.log_scale.fill_(-0.5)
    assert likelihood_scale(vae) == pytest.approx(math.exp(-0.5))
    assert likelihood_scale(VAE((1, 32, 32), latent_dim=2)) == 1.0


@pytest.mark.parametrize(
    ("sections", "name"),
    [
        ({}, "rf-vae"),
        (
            {"relevance": {"mode": "fixed", "initial": [1, 0]}, "model": {"latent_dim": 2}},
            "rf-vae-0",
        ),
        ({"objective": {"prior": "variance"}}, "bf-vae-0"),
        ({"objective": {"prior": "gated-gamma"}}, "bf-vae-2"),
        ({"objective": {"tc_estimator": "minibatch"}, **FIXED}, "beta-tcvae"),
        ({"objective": {"tc_weight": 0, "kl_weight_min": 1, "kl_weight_max": 1}, **FIXED}, "vae"),
        (
            {
                "objective": {
                    "tc_weight": 0,
                    "kl_weight_min": 1,
                    "kl_weight_max": 1,
                    "capacity": 5,
                },
                **FIXED,
            },
            "beta-vae",
        ),
    ],
)
def test_objective_name_of_every_member(sections: dict[str, Any], name: str) -> None:
    assert objective_name(Config.model_validate(sections)) == name
