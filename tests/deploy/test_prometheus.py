"""A real Prometheus scrapes a real service; PromQL says what operators need to know."""

import json
import urllib.error
import urllib.request
from collections.abc import Iterator

import numpy as np
import pytest

from service.codecs.npy import write_npy
from tests.deploy.exported import labels_of, rules
from tests.deploy.prometheus import Prometheus, prometheus
from tests.service.process import ServerProcess, serve
from tests.service.tiny_model import write_tiny_repository

SIZE = 16
N_IMAGES = 8


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    repository = write_tiny_repository(tmp_path_factory.mktemp("repository"))
    with serve(repository, RFVAE_MAX_BODY_BYTES="4096", RFVAE_ACCESS_LOG="none") as started:
        yield started


@pytest.fixture(scope="module")
def watcher(
    server: ServerProcess, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Prometheus]:
    target = server.url.removeprefix("http://")
    with prometheus(tmp_path_factory.mktemp("prometheus"), target) as started:
        started.until('up{job="rfvae"} == 1')
        yield started


@pytest.fixture
def traffic(server: ServerProcess, watcher: Prometheus) -> Prometheus:
    """Sends one request of each kind after at least one scrape, so that rates are known."""
    images = np.full((N_IMAGES, SIZE, SIZE), 255, np.uint8)
    watcher.until("rfvae_images_total")
    assert _post(server, "/encode", write_npy(images)) == 200
    assert _post(server, "/factors", write_npy(images)) == 200
    assert _post(server, "/encode", write_npy(np.zeros((99, SIZE, SIZE), np.uint8))) == 413
    return watcher


@pytest.mark.parametrize(
    "expression",
    [
        'sum(rate(rfvae_requests_total{operation="encode", outcome="ok"}[1m])) > 0',
        "histogram_quantile(0.99, sum by (le) (rate(rfvae_request_duration_seconds_bucket"
        '{operation="encode"}[1m]))) > 0',
        "sum(rate(rfvae_batch_rows_sum[1m])) / sum(rate(rfvae_batch_rows_count[1m])) >= 1",
        'rate(rfvae_rejected_total{reason="body_too_large"}[1m]) > 0',
        "rfvae_queue_rows == 0",
        "rate(rfvae_images_total[1m]) > 0",
        "sum by (model) (rate(rfvae_latent_out_of_range_total[1m])) > 0",
        "job:rfvae_inference_requests:rate5m > 0",
        "job:rfvae_request_duration_seconds:p99_rate5m > 0",
        "job_model_dim:rfvae_latent_out_of_range:ratio_increase1h > 0",
    ],
)
def test_prometheus_knows_after_a_request(traffic: Prometheus, expression: str) -> None:
    assert traffic.until(expression)


def test_prometheus_knows_which_model_answers(watcher: Prometheus) -> None:
    ((labels, value),) = watcher.until("rfvae_model_info")

    assert value == 1
    assert (labels["model"], labels["version"]) == ("tiny", "1")
    assert labels["provider"] == "CPUExecutionProvider"
    assert watcher.query('rfvae_model_ready{model="tiny"}')[0][1] == 1


def test_prometheus_evaluates_every_rule_without_an_error(watcher: Prometheus) -> None:
    watcher.until("rfvae:p99_objective:seconds")
    found = [rule for group in watcher.ask("rules")["groups"] for rule in group["rules"]]

    assert len(found) == len(rules())
    assert [rule["name"] for rule in found if rule.get("lastError")] == []


def test_prometheus_raises_no_alert_on_a_fresh_service(watcher: Prometheus) -> None:
    watcher.until("rfvae:p99_objective:seconds")

    assert [alert for alert in watcher.ask("alerts")["alerts"] if alert["state"] == "firing"] == []


def test_labels_that_queries_may_name_are_those_of_a_scrape(watcher: Prometheus) -> None:
    scraped = watcher.ask("label/__name__/values")
    series = {name for name in scraped if name.startswith("rfvae_")}

    assert series <= set(labels_of())
    for labels, _ in watcher.until('{job="rfvae", __name__=~"rfvae_.*"}'):
        assert set(labels) - {"__name__"} <= labels_of()[labels["__name__"]]


def _post(server: ServerProcess, path: str, body: bytes) -> int:
    request = urllib.request.Request(
        f"{server.url}{path}", body, {"Content-Type": "application/x-npy"}
    )
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            json.load(answer)
            return int(answer.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code
