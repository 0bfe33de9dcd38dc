"""Which version answers, and how versions come and go."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import shutil
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from service.errors import ArtifactError, Draining, NotReady, UnknownModel, UnknownVersion
from service.models.registry import ModelState, Registry
from service.models.repository import FoundVersion, scan
from service.models.served import LoadOptions, ServedModel, load_model
from service.observability.logging import configure_logging
from service.runtime.opening import EngineOptions
from tests.service.tiny_model import write_tiny_model, write_tiny_repository

IMAGE = np.zeros((1, 1, 16, 16), np.uint8)
NewRegistry = Callable[..., Registry]


def _load(found: FoundVersion) -> ServedModel:
    return load_model(found, LoadOptions(EngineOptions(device="cpu", lanes=1)))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_tiny_repository(tmp_path / "models")


@pytest.fixture
async def new() -> AsyncIterator[NewRegistry]:
    made: list[Registry] = []

    def make(**options: Any) -> Registry:
        made.append(Registry(**{"load": _load, "linger_s": 0.0, **options}))
        return made[-1]

    yield make
    for registry in made:
        await registry.drain()


def _add(root: Path, name: str, version: int, **options: Any) -> Path:
    folder = root / name / str(version)
    return write_tiny_model(folder, name=name, version=version, **options)


def _states(registry: Registry) -> list[tuple[str, int, str]]:
    return [(status.name, status.version, status.state) for status in registry.statuses()]


async def test_sync_loads_what_was_found(root: Path, new: NewRegistry) -> None:
    registry = new()
    report = await registry.sync(scan([root]))
    assert (report.loaded, report.failed, report.removed) == ((("tiny", 1),), {}, ())
    assert registry.get().name == "tiny"
    assert registry.get("tiny", 1) is registry.get()
    assert registry.why_not_ready() is None
    assert _states(registry) == [("tiny", 1, "ready")]
    assert registry.ready_models() == [registry.get()]


async def test_the_highest_version_answers_by_default(root: Path, new: NewRegistry) -> None:
    for version in (10, 9):
        _add(root, "tiny", version, seed=version)
    registry = new()
    await registry.sync(scan([root]))
    assert registry.get().version == registry.get("tiny").version == 10
    assert registry.get("tiny", 9).version == registry.get(None, 9).version == 9
    assert _states(registry) == [("tiny", 10, "ready"), ("tiny", 9, "ready"), ("tiny", 1, "ready")]


async def test_the_default_model_is_the_first_by_name_or_the_one_set(
    root: Path, new: NewRegistry
) -> None:
    _add(root, "apples", 1)
    registry, other = new(), new(default_model="tiny")
    for each in (registry, other):
        await each.sync(scan([root]))
    assert registry.get().name == registry.default_name == "apples"
    assert other.get().name == other.default_name == "tiny"
    assert registry.names() == ["apples", "tiny"]


async def test_unknown_names_and_versions_say_what_exists(root: Path, new: NewRegistry) -> None:
    registry = new()
    await registry.sync(scan([root]))
    with pytest.raises(UnknownModel, match="`model` must be one of `tiny`; got `faces`"):
        registry.get("faces")
    with pytest.raises(UnknownModel, match="got `faces`"):
        registry.get("faces", 1)
    with pytest.raises(UnknownModel, match="must be one of `tiny`; got ``"):
        registry.get("")
    with pytest.raises(UnknownModel, match="got ``"):
        registry.get("", 1)
    with pytest.raises(UnknownVersion, match="of model `tiny` must be one of `1`; got `2`"):
        registry.get("tiny", 2)
    with pytest.raises(UnknownVersion, match="of model `tiny` must be one of `1`; got `2`"):
        registry.get(None, 2)


DEFAULT_IS_GONE = (
    "the default model must be in the repository, which holds `tiny`; `faces` is not; name one of "
    "these as `model`, put it there, or change RFVAE_DEFAULT_MODEL"
)


async def test_a_default_model_that_does_not_exist_is_not_ready(
    root: Path, new: NewRegistry
) -> None:
    registry = new(default_model="faces")
    await registry.sync(scan([root]))
    for version in (None, 1):
        with pytest.raises(NotReady) as caught:
            registry.get(None, version)
        assert caught.value.detail == DEFAULT_IS_GONE
    assert registry.why_not_ready() == DEFAULT_IS_GONE
    with pytest.raises(UnknownModel, match="must be one of `tiny`; got `faces`"):
        registry.get("faces")
    assert registry.get("tiny").name == "tiny"


async def test_a_default_model_that_leaves_takes_readiness_with_it(
    root: Path, new: NewRegistry
) -> None:
    _add(root, "faces", 1)
    registry = new(default_model="faces")
    await registry.sync(scan([root]))
    assert registry.is_ready
    shutil.rmtree(root / "faces")
    await registry.sync(scan([root]))
    assert not registry.is_ready
    assert registry.why_not_ready() == DEFAULT_IS_GONE


async def test_an_empty_registry_is_not_ready(new: NewRegistry) -> None:
    registry = new()
    assert registry.why_not_ready() == "no model is loaded yet; see /readyz"
    await registry.sync([])
    with pytest.raises(NotReady, match="no model is loaded yet"):
        registry.get()


async def test_a_version_that_is_loading_is_not_ready(root: Path, new: NewRegistry) -> None:
    may_load = threading.Event()

    def load_when_told(found: FoundVersion) -> ServedModel:
        may_load.wait(10)
        return _load(found)

    registry = new(load=load_when_told)
    syncing = asyncio.ensure_future(registry.sync(scan([root])))
    while not registry.statuses():
        await asyncio.sleep(0)
    assert _states(registry) == [("tiny", 1, "loading")]
    with pytest.raises(NotReady, match="model `tiny` version 1 is not ready: it is being loaded"):
        registry.get()
    may_load.set()
    await syncing
    assert registry.get().version == 1


async def test_loading_another_version_does_not_disturb_the_one_in_use(
    root: Path, new: NewRegistry
) -> None:
    may_load = threading.Event()
    may_load.set()

    def load_when_told(found: FoundVersion) -> ServedModel:
        may_load.wait(10)
        return _load(found)

    registry = new(load=load_when_told)
    await registry.sync(scan([root]))
    may_load.clear()
    _add(root, "tiny", 2)
    syncing = asyncio.ensure_future(registry.sync(scan([root])))
    while len(registry.statuses()) < 2:
        await asyncio.sleep(0)
    assert _states(registry) == [("tiny", 2, "loading"), ("tiny", 1, "ready")]
    assert registry.get().version == 1
    assert registry.why_not_ready() is None
    with pytest.raises(NotReady, match="version 2 is not ready"):
        registry.get("tiny", 2)
    may_load.set()
    await syncing
    assert registry.get().version == 2


async def test_a_bad_version_is_refused_and_the_old_one_goes_on(
    root: Path, new: NewRegistry
) -> None:
    registry = new()
    await registry.sync(scan([root]))
    (_add(root, "tiny", 2) / "encoder.onnx").write_bytes(b"tampered")
    report = await registry.sync(scan([root]))
    assert list(report.failed) == [("tiny", 2)]
    assert isinstance(report.failed["tiny", 2], ArtifactError)
    assert registry.get().version == 1
    assert registry.why_not_ready() is None
    status = registry.statuses()[0]
    assert (status.version, status.state) == (2, ModelState.FAILED)
    assert "encoder.onnx" in (status.reason or "")
    with pytest.raises(NotReady, match=r"version 2 is not ready: .*encoder.onnx` must have"):
        registry.get("tiny", 2)


async def test_a_bad_version_is_not_tried_again_until_its_files_change(
    root: Path, new: NewRegistry
) -> None:
    tried: list[int] = []

    def load(found: FoundVersion) -> ServedModel:
        tried.append(found.version)
        return _load(found)

    registry = new(load=load)
    folder = _add(root, "tiny", 2)
    good = (folder / "encoder.onnx").read_bytes()
    (folder / "encoder.onnx").write_bytes(b"half copied")
    await registry.sync(scan([root]))
    await registry.sync(scan([root]))
    assert tried == [2, 1]
    (folder / "encoder.onnx").write_bytes(good)
    await registry.sync(scan([root]))
    assert tried == [2, 1, 2]
    assert registry.get().version == 2


async def test_a_crash_while_loading_is_logged_and_reported_without_its_text(
    root: Path, new: NewRegistry, caplog: pytest.LogCaptureFixture
) -> None:
    def crash(found: FoundVersion) -> ServedModel:
        raise MemoryError("secret")

    registry = new(load=crash)
    report = await registry.sync(scan([root]))
    assert report.failed["tiny", 1].detail.startswith("loading ended in an unexpected error")
    (crashed,) = [one for one in caplog.records if one.getMessage() == "model_crashed"]
    assert vars(crashed)["fields"] == {"model": "tiny", "version": 1}
    assert "MemoryError: secret" in caplog.text


async def test_a_changed_folder_is_loaded_anew_and_the_old_model_leaves(
    root: Path, new: NewRegistry
) -> None:
    registry = new()
    await registry.sync(scan([root]))
    old = registry.get()
    _add(root, "tiny", 1, seed=7)
    await registry.sync(scan([root]))
    assert registry.get() is not old
    await _until(lambda: len(registry.statuses()) == 1)
    with pytest.raises(Draining):
        await old.batcher.submit("encode", IMAGE)


async def test_a_changed_folder_that_fails_leaves_the_old_model_in_service(
    root: Path, new: NewRegistry
) -> None:
    registry = new()
    await registry.sync(scan([root]))
    old = registry.get()
    (root / "tiny/1/encoder.onnx").write_bytes(b"tampered")
    await registry.sync(scan([root]))
    assert registry.get() is old
    (status,) = registry.statuses()
    assert status.state == ModelState.READY
    assert "encoder.onnx" in (status.reason or "")


async def test_a_removed_version_leaves_and_the_next_one_answers(
    root: Path, new: NewRegistry
) -> None:
    _add(root, "tiny", 2)
    registry = new()
    await registry.sync(scan([root]))
    shutil.rmtree(root / "tiny/2")
    report = await registry.sync(scan([root]))
    assert report.removed == (("tiny", 2),)
    assert registry.get().version == 1
    with pytest.raises(UnknownVersion):
        registry.get("tiny", 2)


async def test_a_version_on_its_way_out_still_answers_those_who_hold_it(
    root: Path, new: NewRegistry
) -> None:
    registry = new(linger_s=60.0)
    await registry.sync(scan([root]))
    held = registry.get()
    await registry.sync([])
    assert _states(registry) == [("tiny", 1, "draining")]
    assert len((await held.batcher.submit("encode", IMAGE)).outputs[0]) == 1
    with pytest.raises(NotReady):
        registry.get()


async def test_drain_finishes_accepted_work_and_serves_no_more(
    root: Path, new: NewRegistry
) -> None:
    registry = new()
    await registry.sync(scan([root]))
    model = registry.get()
    accepted = asyncio.ensure_future(model.batcher.submit("encode", IMAGE))
    await asyncio.sleep(0)
    assert await registry.drain(timeout_s=10) == 0
    assert len((await accepted).outputs[0]) == 1
    with pytest.raises(NotReady):
        registry.get()
    with pytest.raises(Draining):
        await model.batcher.submit("encode", IMAGE)


async def test_a_model_that_loads_while_the_registry_drains_is_let_go(
    root: Path, new: NewRegistry
) -> None:
    may_load, loaded = threading.Event(), []

    def load_when_told(found: FoundVersion) -> ServedModel:
        may_load.wait(10)
        loaded.append(_load(found))
        return loaded[-1]

    registry = new(load=load_when_told)
    syncing = asyncio.ensure_future(registry.sync(scan([root])))
    while not registry.statuses():
        await asyncio.sleep(0)
    await registry.drain()
    may_load.set()
    await syncing
    with pytest.raises(Draining):
        await loaded[0].batcher.submit("encode", IMAGE)
    assert registry.ready_models() == []


async def test_every_change_is_logged_as_an_event_with_fields(root: Path, new: NewRegistry) -> None:
    stream = io.StringIO()
    configure_logging("json", "info", stream)
    registry = new()
    (_add(root, "tiny", 2) / "encoder.onnx").write_bytes(b"tampered")
    await registry.sync(scan([root]))
    await registry.sync([])
    logging.getLogger("service").handlers[0].flush()

    lines = {
        (line["event"], line["version"]): line
        for line in map(json.loads, stream.getvalue().splitlines())
    }
    assert set(lines) == {
        ("model_refused", 2),
        ("model_opened", 1),
        ("model_ready", 1),
        ("model_removed", 1),
        ("model_removed", 2),
    }
    assert {line["model"] for line in lines.values()} == {"tiny"}
    refused, ready = lines["model_refused", 2], lines["model_ready", 1]
    assert refused["level"] == "error"
    assert "encoder.onnx` must have" in refused["reason"]
    assert ready["level"] == "info"
    assert 0 < ready["load_s"] < 60
    assert lines["model_opened", 1]["lanes"] == 1


async def test_every_change_is_told(root: Path, new: NewRegistry) -> None:
    told: list[list[tuple[str, int, str]]] = []
    registry = new(on_change=lambda: told.append(_states(registry)))
    await registry.sync(scan([root]))
    assert told == [[("tiny", 1, "loading")], [("tiny", 1, "ready")]]


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0)
