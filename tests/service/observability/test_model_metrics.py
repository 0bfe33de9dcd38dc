"""Series of models: they come with a load and leave with the model."""

import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from service.observability.model_metrics import ModelMetrics, ReadyModel


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


def _model(
    version: int = 1,
    *,
    name: str = "tiny",
    factors: tuple[str, ...] = ("scale", "x"),
    bound: tuple[float, ...] = (1, 1, 1),
) -> ReadyModel:
    return ReadyModel(
        name,
        version,
        "cpu",
        factors=dict(enumerate(factors)),
        low=-np.array(bound, np.float32),
        high=np.array(bound, np.float32),
        lanes=4,
        threads=2,
    )


def _names(registry: CollectorRegistry) -> set[str]:
    return {
        sample.labels["model"]
        for family in registry.collect()
        for sample in family.samples
        if "model" in sample.labels
    }


def test_model_metrics_show_a_ready_model(registry: CollectorRegistry) -> None:
    ModelMetrics(registry).show(["tiny"], [_model()])

    info = {"model": "tiny", "version": "1", "provider": "cpu"}
    assert registry.get_sample_value("rfvae_model_info", info) == 1
    assert registry.get_sample_value("rfvae_model_ready", {"model": "tiny"}) == 1
    assert registry.get_sample_value("rfvae_relevant_dims", {"model": "tiny"}) == 2
    assert registry.get_sample_value("rfvae_model_lanes", {"model": "tiny"}) == 4
    assert registry.get_sample_value("rfvae_model_threads", {"model": "tiny"}) == 2
    out_of_range = {"model": "tiny", "dim": "2"}
    assert registry.get_sample_value("rfvae_latent_out_of_range_total", out_of_range) == 0


def test_model_metrics_show_a_model_that_cannot_answer_as_not_ready(
    registry: CollectorRegistry,
) -> None:
    ModelMetrics(registry).show(["tiny"], [])

    assert registry.get_sample_value("rfvae_model_ready", {"model": "tiny"}) == 0


def test_model_metrics_replace_the_version_after_a_swap(registry: CollectorRegistry) -> None:
    metrics = ModelMetrics(registry)
    metrics.show(["tiny"], [_model(1)])
    metrics.show(["tiny"], [_model(2, factors=("x", "y", "scale"))])

    infos = next(family for family in registry.collect() if family.name == "rfvae_model_info")
    assert [sample.labels["version"] for sample in infos.samples] == ["2"]
    assert registry.get_sample_value("rfvae_relevant_dims", {"model": "tiny"}) == 3
    factors = next(family for family in registry.collect() if family.name == "rfvae_factor_info")
    assert [(sample.labels["dim"], sample.labels["name"]) for sample in factors.samples] == [
        *(("0", "x"), ("1", "y"), ("2", "scale"))
    ]


def test_model_metrics_drop_all_series_of_a_model_that_left(registry: CollectorRegistry) -> None:
    metrics = ModelMetrics(registry)
    metrics.show(["tiny", "other"], [_model(), _model(name="other")])
    metrics.show(["other"], [_model(name="other")])

    assert _names(registry) == {"other"}


def test_model_metrics_count_what_is_out_of_range(registry: CollectorRegistry) -> None:
    metrics = ModelMetrics(registry)
    metrics.show(["tiny"], [_model()])
    metrics.observe_mu("tiny", 1, np.array([[2, 0, 0], [-2, 1, -1]], np.float32))
    metrics.observe_mu("unknown", 1, np.zeros((1, 3), np.float32))
    metrics.flush()
    metrics.flush()
    metrics.observe_novelty("tiny", [99.0])

    labels = {"model": "tiny", "dim": "0"}
    assert registry.get_sample_value("rfvae_latent_out_of_range_total", labels) == 2
    labels = {"model": "tiny", "dim": "1"}
    assert registry.get_sample_value("rfvae_latent_out_of_range_total", labels) == 0
    assert registry.get_sample_value("rfvae_images_total", {"model": "tiny"}) == 2
    bucket = {"model": "tiny", "le": "95.0"}
    assert registry.get_sample_value("rfvae_reconstruction_novelty_bucket", bucket) == 0


def _out_of_range(registry: CollectorRegistry) -> dict[str, float]:
    family = next(f for f in registry.collect() if f.name == "rfvae_latent_out_of_range")
    return {one.labels["dim"]: one.value for one in family.samples if one.name.endswith("_total")}


def test_model_metrics_compare_each_version_with_its_own_range(
    registry: CollectorRegistry,
) -> None:
    metrics = ModelMetrics(registry)
    metrics.show(["tiny"], [_model(1, bound=(9, 9, 9, 9)), _model(2)])
    before = _out_of_range(registry)
    metrics.observe_mu("tiny", 1, np.array([[5, 5, 5, 10]], np.float32))
    metrics.observe_mu("tiny", 2, np.array([[5, 0, 0]], np.float32))
    metrics.flush()

    assert before == {"0": 0, "1": 0, "2": 0, "3": 0}
    assert _out_of_range(registry) == {"0": 1, "1": 0, "2": 0, "3": 1}
    assert registry.get_sample_value("rfvae_images_total", {"model": "tiny"}) == 2


def test_model_metrics_keep_the_counts_of_a_version_that_is_replaced(
    registry: CollectorRegistry,
) -> None:
    metrics = ModelMetrics(registry)
    metrics.show(["tiny"], [_model(1)])
    metrics.observe_mu("tiny", 1, np.array([[5, 0, 0]], np.float32))
    metrics.show(["tiny"], [_model(2)])
    metrics.observe_mu("tiny", 1, np.array([[5, 0, 0]], np.float32))
    metrics.flush()

    assert _out_of_range(registry) == {"0": 1, "1": 0, "2": 0}


def test_model_metrics_do_not_bring_back_a_model_that_left(registry: CollectorRegistry) -> None:
    metrics = ModelMetrics(registry)
    metrics.show(["tiny"], [_model()])
    metrics.show([], [])
    metrics.observe_mu("tiny", 1, np.zeros((1, 3), np.float32))
    metrics.observe_novelty("tiny", [50.0])
    metrics.flush()

    assert _names(registry) == set()
