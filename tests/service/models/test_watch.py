"""A registry that follows its folders: what comes, changes, breaks and goes."""

import asyncio
import errno
import logging
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from service.errors import ArtifactError
from service.models.registry import Registry
from service.models.repository import FoundVersion, scan
from service.models.served import LoadOptions, load_model
from service.models.watch import RepositoryWatch
from service.runtime.opening import EngineOptions
from tests.service.models.unreadable import cannot_list
from tests.service.tiny_model import write_tiny_model, write_tiny_repository


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_tiny_repository(tmp_path / "models")


@pytest.fixture
async def registry() -> AsyncIterator[Registry]:
    options = LoadOptions(EngineOptions(device="cpu", lanes=1))
    made = Registry(lambda found: load_model(found, options), linger_s=0.0)
    yield made
    await made.drain()


async def _watching(registry: Registry, root: Path) -> RepositoryWatch:
    found = scan([root])
    await registry.sync(found)
    return RepositoryWatch(registry, [root], found=found)


async def test_watch_does_nothing_while_nothing_changes(registry: Registry, root: Path) -> None:
    watch = await _watching(registry, root)
    assert [await watch.look(), await watch.look()] == [None, None]


async def test_watch_loads_a_new_version_once_its_files_rest(
    registry: Registry, root: Path
) -> None:
    watch = await _watching(registry, root)
    write_tiny_model(root / "tiny/2", version=2, seed=2)
    assert await watch.look() is None
    report = await watch.look()
    assert report is not None
    assert report.loaded == (("tiny", 2),)
    assert registry.get().version == 2


async def test_watch_leaves_a_folder_that_is_still_written_as_it_was(
    registry: Registry, root: Path
) -> None:
    watch = await _watching(registry, root)
    folder = write_tiny_model(root / "tiny/2", version=2, seed=2)
    graph = (folder / "encoder.onnx").read_bytes()
    for length in (10, 20, 30):
        (folder / "encoder.onnx").write_bytes(graph[:length])
        assert await watch.look() is None
    (folder / "encoder.onnx").write_bytes(graph)
    await watch.look()
    await watch.look()
    assert registry.get().version == 2


async def test_watch_reports_a_bad_version_once_and_the_old_one_goes_on(
    registry: Registry, root: Path
) -> None:
    watch = await _watching(registry, root)
    folder = write_tiny_model(root / "tiny/2", version=2)
    (folder / "encoder.onnx").write_bytes(b"tampered")
    await watch.look()
    report = await watch.look()
    assert report is not None
    assert list(report.failed) == [("tiny", 2)]
    assert await watch.look() is None
    assert registry.get().version == 1


async def test_watch_lets_a_removed_version_go(registry: Registry, root: Path) -> None:
    folder = write_tiny_model(root / "tiny/2", version=2)
    watch = await _watching(registry, root)
    folder.rename(root / ".trash")
    assert await watch.look() is None
    report = await watch.look()
    assert report is not None
    assert report.removed == (("tiny", 2),)
    assert registry.get().version == 1


async def test_watch_serves_the_old_one_while_a_version_is_replaced(
    registry: Registry, root: Path
) -> None:
    """By a folder that is not there at one look, and half copied at the next."""
    watch = await _watching(registry, root)
    served, served_by = registry.get(), root / "tiny/1"
    served_by.rename(root / ".trash")
    assert await watch.look() is None
    write_tiny_model(served_by, version=1, seed=2)
    graph = (served_by / "encoder.onnx").read_bytes()
    (served_by / "encoder.onnx").write_bytes(graph[:10])
    assert await watch.look() is None
    (served_by / "encoder.onnx").write_bytes(graph)
    assert await watch.look() is None
    assert registry.get() is served
    report = await watch.look()
    assert report is not None
    assert report.failed == {}
    assert registry.get().version == 1
    assert registry.get() is not served


async def test_watch_keeps_what_is_served_while_the_repository_cannot_be_read(
    registry: Registry, root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    watch = await _watching(registry, root)
    root.rename(root.parent / "elsewhere")
    with caplog.at_level(logging.ERROR):
        await watch.look()
        await watch.look()
    assert registry.get().version == 1
    (said,) = [one for one in caplog.records if one.getMessage() == "repository_unreadable"]
    assert "does not exist or is no folder" in vars(said)["fields"]["reason"]


@pytest.mark.parametrize("place", [".", "tiny", "tiny/1"])
@pytest.mark.parametrize("number", [errno.EMFILE, errno.ESTALE, errno.EIO])
async def test_watch_keeps_what_is_served_while_a_folder_cannot_be_listed(
    registry: Registry, root: Path, monkeypatch: pytest.MonkeyPatch, place: str, number: int
) -> None:
    watch = await _watching(registry, root)
    served = registry.get()
    with monkeypatch.context() as patch:
        cannot_list(root / place, number, patch)
        assert [await watch.look(), await watch.look()] == [None, None]
        assert registry.get() is served
    assert await watch.look() is None
    assert registry.get() is served


async def test_watch_keeps_what_is_served_while_a_volume_is_not_mounted(
    registry: Registry, root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    device, elsewhere = 1, root.parent / "elsewhere"
    found = scan([root])
    await registry.sync(found)
    watch = RepositoryWatch(registry, [root], found=found, device_of=lambda repository: device)
    served = registry.get()
    assert await watch.look() is None
    root.rename(elsewhere)
    root.mkdir()
    device = 2
    with caplog.at_level(logging.ERROR):
        assert [await watch.look() for _ in range(3)] == [None, None, None]
    assert registry.get() is served
    (said,) = [one for one in caplog.records if one.getMessage() == "repository_unreadable"]
    assert "as a volume that is not mounted" in vars(said)["fields"]["reason"]
    root.rmdir()
    elsewhere.rename(root)
    device = 3  # mounted again, which may give it another number
    assert [await watch.look(), await watch.look()] == [None, None]
    assert registry.get() is served
    (root / "tiny").rename(elsewhere)  # emptied, but on the same file system
    await watch.look()
    report = await watch.look()
    assert report is not None
    assert report.removed == (("tiny", 1),)


async def test_watch_does_not_load_what_it_saw_once_before_the_repository_went_away(
    registry: Registry, root: Path
) -> None:
    watch = await _watching(registry, root)
    write_tiny_model(root / "tiny/2", version=2)
    await watch.look()
    root.rename(root.parent / "elsewhere")
    assert [await watch.look(), await watch.look()] == [None, None]
    (root.parent / "elsewhere").rename(root)
    assert await watch.look() is None
    await watch.look()
    assert registry.get().version == 2


async def test_watch_follows_a_repository_while_another_cannot_be_read(
    registry: Registry, root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    other, elsewhere = root.parent / "others", root.parent / "elsewhere"
    write_tiny_repository(other, name="calm")
    found = scan([root, other])
    await registry.sync(found)
    watch = RepositoryWatch(registry, [root, other], found=found)
    kept = registry.get("tiny")
    root.rename(elsewhere)
    write_tiny_model(other / "calm/2", name="calm", version=2)
    write_tiny_model(other / "tiny/7", version=7)  # a name that is the first repository's
    with caplog.at_level(logging.ERROR):
        await watch.look()
        report = await watch.look()
    assert report is not None
    assert report.loaded == (("calm", 2),)
    assert (registry.get("calm").version, registry.get("tiny")) == (2, kept)
    (said,) = [one for one in caplog.records if one.getMessage() == "repository_unreadable"]
    assert f"`{root}` does not exist" in vars(said)["fields"]["reason"]
    elsewhere.rename(root)
    assert [await watch.look(), await watch.look()] == [None, None]
    assert registry.get("tiny") is kept


async def test_watch_tells_what_each_change_did(registry: Registry, root: Path) -> None:
    reports = []
    watch = RepositoryWatch(registry, [root], on_report=reports.append)
    await watch.look()
    await watch.look()
    assert [report.loaded for report in reports] == [(("tiny", 1),)]


async def test_watch_goes_on_after_a_look_that_failed(
    registry: Registry, root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    looks = 0

    def look(repository: Path) -> list[FoundVersion]:
        nonlocal looks
        looks += 1
        if looks == 1:
            raise RuntimeError("unexpected")
        raise ArtifactError("unreadable")

    watch = RepositoryWatch(registry, [root], look=look)
    turns = 0

    async def turn(seconds: float) -> None:
        nonlocal turns
        turns += 1
        if turns == 3:
            raise asyncio.CancelledError

    with caplog.at_level(logging.ERROR), pytest.raises(asyncio.CancelledError):
        await watch.run(1.0, turn)
    assert looks == 2
    assert "repository_watch_failed" in caplog.text


async def test_watch_looks_when_the_clock_is_at_a_multiple(registry: Registry, root: Path) -> None:
    now_s, looked = 100.7, []

    def look(repository: Path) -> list[FoundVersion]:
        looked.append(now_s)
        return []

    async def sleep(seconds: float) -> None:
        nonlocal now_s
        if len(looked) == 3:
            raise asyncio.CancelledError
        now_s += seconds + 0.4 * len(looked)  # as if it came later each time

    watch = RepositoryWatch(registry, [root], look=look)
    with pytest.raises(asyncio.CancelledError):
        await watch.run(2.0, sleep, lambda: now_s)

    assert looked == pytest.approx([102, 104.4, 106.8])
