"""Probes that do not lie, before, during and after the models' first load."""

import asyncio
import re
import threading
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import httpx
import onnxruntime
import pytest

from service.app import create_app
from service.models.registry import Registry
from service.models.repository import FoundVersion
from service.models.served import LoadOptions, ServedModel, load_model
from service.observability.merging import Snapshot
from service.runtime.opening import EngineOptions
from service.settings import Settings
from tests.service.conftest import StartService


@pytest.fixture
def hold() -> Iterator[threading.Event]:
    """Holds the load of the models until it is set."""
    event = threading.Event()
    yield event
    event.set()


def _slow_registry(hold: threading.Event) -> Registry:
    def load(found: FoundVersion) -> ServedModel:
        assert hold.wait(timeout=30)
        return load_model(found, LoadOptions(EngineOptions(device="cpu", lanes=1)))

    return Registry(load)


async def test_probes_answer_while_the_models_load(repository: Path, hold: threading.Event) -> None:
    app = create_app(Settings(model_repository=(repository,)), _slow_registry(hold))
    transport = httpx.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://test") as client,
    ):
        live, startup, ready, encode = [
            await client.get("/livez"),
            await client.get("/startupz"),
            await client.get("/readyz"),
            await client.post("/encode"),
        ]
        hold.set()
        await app.state.service.lifecycle.settled()
        after = [await client.get(path) for path in ("/livez", "/startupz", "/readyz")]

    assert (live.status_code, live.json()) == (200, {"status": "live", "reasons": []})
    assert startup.status_code == 503
    assert startup.json()["reasons"] == ["the models are being loaded"]
    assert (ready.status_code, ready.json()["status"]) == (503, "not ready")
    assert (encode.status_code, encode.json()["type"]) == (503, "urn:rfvae:problem:not-ready")
    assert [answer.status_code for answer in after] == [200, 200, 200]


async def test_readyz_says_why_the_models_cannot_be_loaded(
    start_service: StartService, tmp_path: Path
) -> None:
    async with start_service(model_repository=(tmp_path,)) as started:
        ready = await started.client.get("/readyz")
        live = await started.client.get("/livez")

    assert ready.status_code == 503
    assert "a repository must hold NAME/VERSION/manifest.json" in ready.json()["reasons"][0]
    assert live.status_code == 200


@pytest.mark.parametrize("device", ["cuda", "tensorrt"])
async def test_readyz_says_that_the_asked_device_is_not_in_use(
    start_service: StartService, monkeypatch: pytest.MonkeyPatch, device: str
) -> None:
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    async with start_service(device=device) as started:
        ready = await started.client.get("/readyz")
        encode = await started.client.post("/encode", content=b"")

    assert ready.status_code == 503
    assert re.search(rf"`device` is `{device}`, which needs \w+", ready.json()["reasons"][0])
    assert (encode.status_code, encode.json()["type"]) == (503, "urn:rfvae:problem:not-ready")


async def test_readyz_turns_away_while_draining(start_service: StartService) -> None:
    async with start_service() as started:
        started.service.lifecycle.draining = True
        ready = await started.client.get("/readyz")
        startup = await started.client.get("/startupz")

    assert (ready.status_code, ready.json()["reasons"]) == (503, ["the service is shutting down"])
    assert ready.headers["connection"] == "close"
    assert startup.status_code == 200


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/metrics"])
async def test_probes_answer_head(client: httpx.AsyncClient, path: str) -> None:
    assert (await client.head(path)).status_code == 200


async def test_metrics_are_prometheus_text(client: httpx.AsyncClient) -> None:
    answer = await client.get("/metrics")

    assert answer.headers["content-type"].startswith("text/plain")
    assert 'rfvae_model_ready{model="tiny"} 1.0' in answer.text
    assert "rfvae_requests_in_flight 1.0" in answer.text


async def test_metrics_say_what_readyz_says(start_service: StartService) -> None:
    async with start_service() as started:

        async def asked() -> tuple[int, bool]:
            ready = await started.client.get("/readyz")
            text = (await started.client.get("/metrics")).text
            (value,) = re.findall(r"^rfvae_ready (\S+)$", text, re.MULTILINE)
            return ready.status_code, float(value) == 1

        before = await asked()
        await started.service.registry.sync([])  # every model leaves
        without_models = await asked()
        encode = await started.client.post("/encode", content=b"")

    assert before == (200, True)
    assert without_models == (503, False)
    assert encode.status_code == 503


async def test_metrics_say_that_the_service_drains(start_service: StartService) -> None:
    async with start_service() as started:
        started.service.lifecycle.draining = True
        text = (await started.client.get("/metrics")).text

    assert "\nrfvae_ready 0.0\n" in text


async def _no_other_processes() -> list[Snapshot]:
    return []


@pytest.mark.parametrize("others", [None, _no_other_processes])
async def test_metrics_do_not_wait_for_pictures(
    repository: Path,
    hold: threading.Event,
    others: Callable[[], Awaitable[list[Snapshot]]] | None,
) -> None:
    app = create_app(Settings(model_repository=(repository,), image_threads=1), others=others)
    transport = httpx.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://test") as client,
    ):
        picture = asyncio.create_task(app.state.service.offload.run(True, hold.wait, 30))
        await asyncio.sleep(0)
        answer = await asyncio.wait_for(client.get("/metrics"), 20)
        waits = not picture.done()
        hold.set()
        await picture

    assert answer.status_code == 200
    assert waits


async def test_metrics_series_do_not_grow_with_paths(client: httpx.AsyncClient) -> None:
    def names(text: str) -> set[str]:
        return {line.rsplit(" ", 1)[0] for line in text.splitlines() if not line.startswith("#")}

    before = names((await client.get("/metrics")).text)
    await asyncio.gather(*(client.get(f"/path/{number}") for number in range(20)))
    await client.post("/encode?model=huge")

    assert names((await client.get("/metrics")).text) == before
