"""The application on Ray Serve: what each replica is, and two of them on a local Ray."""

import gc
import json
import socket
import threading
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ray
from ray import serve

from service import ray_app
from service.errors import ArtifactError
from service.ray_app import DEPLOYMENT, Replica, build, settings_of_replica
from service.settings import SettingsError
from tests.service.conftest import StartService, as_file, picture

N_REQUESTS = 600
OPEN = {"auth": "off"}
PNG = {"Content-Type": "image/png"}
_pause = threading.Event()


def test_replica_takes_a_lane_for_each_core_that_ray_gives_it() -> None:
    settings = settings_of_replica(OPEN, cores=3.0)

    assert (settings.lanes, settings.image_threads) == (3, 3)


def test_replica_with_part_of_a_core_has_one_lane() -> None:
    assert settings_of_replica(OPEN, cores=0.5).lanes == 1


def test_replica_keeps_the_lanes_that_were_asked_for() -> None:
    assert settings_of_replica({**OPEN, "lanes": 2}, cores=8.0).lanes == 2


def test_mistake_in_an_option_ends_the_command() -> None:
    with pytest.raises(SettingsError, match="Setting `device`: input should be 'auto', 'cpu'"):
        build({"device": "tpu"})


def test_service_without_keys_ends_the_command() -> None:
    with pytest.raises(SettingsError, match="got an unknown address and no key; make one with"):
        build({})


@pytest.mark.parametrize("options", [OPEN, {"auth": "on", "api_key_hashes": "0" * 64}])
def test_service_is_built_where_somebody_says_who_may_ask(options: dict[str, str]) -> None:
    assert build(options) is not None


def test_replica_on_a_node_without_the_keys_of_the_command_does_not_start() -> None:
    with pytest.raises(SettingsError, match="and no key"):
        settings_of_replica({}, cores=1.0)


async def test_replica_is_healthy_once_its_models_are_loaded(start_service: StartService) -> None:
    async with start_service() as started:
        replica = Replica()
        replica.app = started.app
        await replica.check_health()

        assert started.service.lifecycle.started


async def test_replica_without_models_is_not_healthy(start_service: StartService) -> None:
    async with start_service() as started:
        replica = Replica()
        replica.app = started.app
        started.service.lifecycle.settle(ArtifactError("no manifest"))

        with pytest.raises(ArtifactError, match="no manifest"):
            await replica.check_health()


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    """A small Ray on this machine."""
    ray.init(num_cpus=2, object_store_memory=80 * 2**20, include_dashboard=False)
    yield
    serve.shutdown()
    ray.shutdown()
    gc.collect()  # here, where what Ray leaves to the collector is no error


@pytest.fixture
def url(cluster: None, repository: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Two replicas of the application with the tiny model."""
    monkeypatch.setitem(ray_app.AUTOSCALING, "min_replicas", 2)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = int(free.getsockname()[1])
    serve.start(http_options={"host": "127.0.0.1", "port": port})
    serve.run(build({**OPEN, "model_repository": str(repository), "access_log": "none"}))
    return f"http://127.0.0.1:{port}"


def _ask(url: str, body: bytes) -> tuple[int, bytes]:
    request = urllib.request.Request(f"{url}/encode", body, PNG)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return int(answer.status), answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


def _ask_until_answered(url: str, body: bytes, outcomes: "Counter[int]") -> Any:
    while outcomes.total() < 2 * N_REQUESTS:
        status, answer = _ask(url, body)
        outcomes[status] += 1
        if status == 200:
            return json.loads(answer)
    raise AssertionError(f"not answered: {outcomes}")


def _kill_one_replica() -> None:
    """Ends its process at once, with the requests that are in it."""
    actors = ray.util.list_named_actors(all_namespaces=True)
    replica = next(one for one in actors if f"#{DEPLOYMENT}#" in one["name"])
    ray.kill(ray.get_actor(replica["name"], namespace=replica["namespace"]))


def _wait_for_replicas(count: int) -> None:
    while True:
        states = serve.status().applications["default"].deployments[DEPLOYMENT].replica_states
        if states == {"RUNNING": count}:
            return
        _pause.wait(0.2)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # Ray's own
async def test_replicas_answer_as_the_application_does_and_one_may_die(
    url: str, start_service: StartService
) -> None:
    files = [as_file(picture(seed)) for seed in range(8)]
    async with start_service() as started:
        answers = [
            await started.client.post("/encode", content=file, headers=PNG) for file in files
        ]
    expected = [np.array(answer.json()["mu"]) for answer in answers]
    outcomes: Counter[int] = Counter()
    killed = threading.Event()

    def ask(number: int) -> Any:
        if number == N_REQUESTS // 3:
            _kill_one_replica()
            killed.set()
        return _ask_until_answered(url, files[number % len(files)], outcomes)

    with ThreadPoolExecutor(8) as clients:
        found = list(clients.map(ask, range(N_REQUESTS)))

    assert killed.is_set()
    assert set(outcomes) <= {200, 500, 503}
    assert outcomes[200] == N_REQUESTS
    for number, body in enumerate(found):
        np.testing.assert_allclose(body["mu"], expected[number % len(files)], rtol=1e-5, atol=1e-6)
    _wait_for_replicas(2)
