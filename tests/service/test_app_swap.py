"""Versions that come and go under load: not one request notices."""

import asyncio
from pathlib import Path

import httpx
import pytest

from tests.service.conftest import Started, StartService, as_file, picture
from tests.service.tiny_model import write_tiny_model, write_tiny_repository

PNG = {"Content-Type": "image/png"}
GOOD = as_file(picture())
CALLERS = 6


class Load:
    """Callers that never stop asking; every answer is kept as (status, version)."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client
        self.answers: list[tuple[int, str]] = []
        self._tasks = [asyncio.create_task(self._ask(number)) for number in range(CALLERS)]

    async def _ask(self, number: int) -> None:
        path = ("/encode", "/traverse", "/reconstruct")[number % 3]
        while True:
            answer = await self._client.post(path, content=GOOD, headers=PNG)
            self.answers.append((answer.status_code, answer.headers.get("x-model-version", "")))

    async def until_version(self, version: str) -> None:
        while not self.answers or self.answers[-1][1] != version:
            await asyncio.sleep(0)

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


async def _ready(started: Started) -> bool:
    return (await started.client.get("/readyz")).status_code == 200


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_tiny_repository(tmp_path / "models")


async def test_app_swaps_versions_under_load_without_a_failed_request(
    start_service: StartService, root: Path
) -> None:
    async with start_service(model_repository=(root,), repository_poll_s=0.01) as started:
        load = Load(started.client)
        await load.until_version("1")
        new = write_tiny_model(root / ".incoming", version=2, seed=2)
        new.rename(root / "tiny/2")
        await load.until_version("2")
        ready = [await _ready(started)]
        (root / "tiny/2").rename(root / ".outgoing")
        await load.until_version("1")
        ready.append(await _ready(started))
        await load.stop()

    assert {status for status, _ in load.answers} == {200}
    assert ready == [True, True]


async def test_app_refuses_a_bad_version_under_load_and_counts_it(
    start_service: StartService, root: Path
) -> None:
    async with start_service(model_repository=(root,), repository_poll_s=0.01) as started:
        load = Load(started.client)
        bad = write_tiny_model(root / ".incoming", version=2)
        (bad / "decoder.onnx").write_bytes(b"tampered")
        bad.rename(root / "tiny/2")
        refused = 'rfvae_model_loads_total{model="tiny",outcome="refused"} 1.0'
        while refused not in (await started.client.get("/metrics")).text:
            await asyncio.sleep(0)
        ready = await _ready(started)
        state = (await started.client.get("/models")).json()["models"][0]["versions"][0]["state"]
        await load.stop()

    assert set(load.answers) == {(200, "1")}
    assert (ready, state) == (True, "failed")


async def test_app_goes_on_with_its_default_model_while_a_bad_one_is_first_by_name(
    start_service: StartService, root: Path
) -> None:
    async with start_service(model_repository=(root,), repository_poll_s=0.01) as started:
        load = Load(started.client)
        bad = write_tiny_model(root / ".incoming/1", name="apples")
        (bad / "decoder.onnx").write_bytes(b"tampered")
        bad.parent.rename(root / "apples")
        refused = 'rfvae_model_loads_total{model="apples",outcome="refused"} 1.0'
        while refused not in (await started.client.get("/metrics")).text:
            await asyncio.sleep(0)
        ready = await _ready(started)
        models = (await started.client.get("/models")).json()
        await load.stop()

    assert set(load.answers) == {(200, "1")}
    assert ready
    assert models["default_model"] == "tiny"


async def test_app_starts_with_the_versions_that_are_sound(
    start_service: StartService, root: Path
) -> None:
    bad = write_tiny_model(root / "tiny/2", version=2)
    (bad / "decoder.onnx").write_bytes(b"tampered")

    async with start_service(model_repository=(root,)) as started:
        answer = await started.client.post("/encode", content=GOOD, headers=PNG)

    assert answer.json()["version"] == 1
