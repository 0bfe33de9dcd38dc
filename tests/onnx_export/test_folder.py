import errno
import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from onnx_export.errors import ExportError
from onnx_export.folder import check_target, next_version, published, replaced


def write_two_files(folder: Path) -> None:
    (folder / "encoder.onnx").write_bytes(b"graph")
    (folder / "manifest.json").write_text("{}")


def publish(target: Path, write: Callable[[Path], None]) -> None:
    with published(target, write):
        pass


def everything_in(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_publish_makes_the_whole_folder_readable_by_others(tmp_path: Path) -> None:
    publish(tmp_path / "repository" / "shapes" / "1", write_two_files)

    assert everything_in(tmp_path / "repository" / "shapes") == [
        "1",
        "1/encoder.onnx",
        "1/manifest.json",
    ]
    assert (tmp_path / "repository/shapes/1").stat().st_mode & 0o777 == 0o755
    assert (tmp_path / "repository/shapes/1/encoder.onnx").stat().st_mode & 0o777 == 0o644


def test_publish_hides_the_folder_until_it_is_whole(tmp_path: Path) -> None:
    seen = []

    def write(folder: Path) -> None:
        write_two_files(folder)
        seen.extend(path.name for path in folder.parent.iterdir())

    publish(tmp_path / "shapes" / "1", write)

    assert len(seen) == 1
    assert seen[0].startswith(".")


def test_publish_flushes_every_file_before_the_rename(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "shapes" / "1"
    flushed_before_rename: list[bool] = []
    real_fsync = os.fsync

    def fsync(descriptor: int) -> None:
        flushed_before_rename.append(not target.exists())
        real_fsync(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    publish(target, write_two_files)

    assert flushed_before_rename == [True, True, True, False]  # two files, folder; then its entry


@pytest.mark.parametrize("error", [RuntimeError("broken"), KeyboardInterrupt()])
def test_publish_leaves_nothing_behind_when_writing_fails(
    tmp_path: Path, error: BaseException
) -> None:
    def write(folder: Path) -> None:
        write_two_files(folder)
        raise error

    with pytest.raises(type(error)):
        publish(tmp_path / "repository" / "shapes" / "1", write)

    assert everything_in(tmp_path) == []


def test_publish_out_of_disk_says_so_and_leaves_nothing_behind(tmp_path: Path) -> None:
    def write(folder: Path) -> None:
        write_two_files(folder)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    target = tmp_path / "repository" / "shapes" / "1"
    message = f"the disk of `{target.parent}` is full: nothing was written; free some space and"
    with pytest.raises(ExportError, match=re.escape(message)):
        publish(target, write)

    assert everything_in(tmp_path) == []


def test_publish_keeps_other_versions_when_it_fails(tmp_path: Path) -> None:
    publish(tmp_path / "shapes" / "1", write_two_files)

    def write(folder: Path) -> None:
        raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        publish(tmp_path / "shapes" / "2", write)

    assert everything_in(tmp_path / "shapes") == ["1", "1/encoder.onnx", "1/manifest.json"]


def test_publish_never_replaces_a_version_that_appeared_meanwhile(tmp_path: Path) -> None:
    target = tmp_path / "shapes" / "1"

    def write(folder: Path) -> None:
        write_two_files(folder)
        target.mkdir()
        (target / "of-another-export").touch()

    message = (
        f"a version is never overwritten: `{target}` exists; leave `--version` out to write "
        "version 2, or choose another"
    )
    with pytest.raises(ExportError, match=re.escape(message)):
        publish(target, write)

    assert everything_in(tmp_path / "shapes") == ["1", "1/of-another-export"]


def test_published_is_taken_back_when_what_follows_fails(tmp_path: Path) -> None:
    with (
        pytest.raises(RuntimeError, match="broken"),
        published(tmp_path / "repository" / "shapes" / "1", write_two_files),
    ):
        raise RuntimeError("broken")

    assert everything_in(tmp_path) == []


def test_replaced_changes_the_file_after_the_block(tmp_path: Path) -> None:
    path = tmp_path / "config"
    path.write_text("before")
    with replaced(path, "after"):
        assert path.read_text() == "before"
    assert path.read_text() == "after"
    assert everything_in(tmp_path) == ["config"]


def test_replaced_leaves_the_file_when_the_block_fails(tmp_path: Path) -> None:
    path = tmp_path / "config"
    path.write_text("before")
    with pytest.raises(RuntimeError, match="broken"), replaced(path, "after"):
        raise RuntimeError("broken")
    assert path.read_text() == "before"
    assert everything_in(tmp_path) == ["config"]


def test_next_version_is_one_above_the_highest(tmp_path: Path) -> None:
    for name in ("1", "9", "10", ".11-hidden", "notes"):
        (tmp_path / "shapes" / name).mkdir(parents=True)

    assert next_version(tmp_path, "shapes") == 11
    assert next_version(tmp_path, "clocks") == 1


@pytest.mark.parametrize("name", ["", "..", ".hidden", "a/b", "a b", "x" * 65, "é"])
def test_check_target_refuses_names_that_are_not_plain(tmp_path: Path, name: str) -> None:
    message = f"starts with a letter or digit: got `{name}`; choose one with `--name`"
    with pytest.raises(ExportError, match=re.escape(message)):
        check_target(tmp_path, name=name, version=1)


@pytest.mark.parametrize("version", [0, -1, 1_000_000_000])
def test_check_target_refuses_versions_that_the_service_passes_over(
    tmp_path: Path, version: int
) -> None:
    message = f"a version is 1 to 999999999: got {version}; leave `--version` out"
    with pytest.raises(ExportError, match=message):
        check_target(tmp_path, name="shapes", version=version)


def test_next_version_looks_at_versions_only(tmp_path: Path) -> None:
    for name in ("2", "9999999999", "007", "draft"):
        (tmp_path / "shapes" / name).mkdir(parents=True)
    assert next_version(tmp_path, "shapes") == 3


def test_check_target_refuses_a_version_that_exists(tmp_path: Path) -> None:
    (tmp_path / "shapes" / "4").mkdir(parents=True)
    with pytest.raises(ExportError, match=r"is never overwritten: .* to write version 5"):
        check_target(tmp_path, name="shapes", version=4)
