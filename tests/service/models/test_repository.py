"""What is found in repository folders."""

from __future__ import annotations

import errno
import os
import re
from pathlib import Path

import pytest

from service.errors import ArtifactError
from service.models.repository import FoundVersion, require_versions, scan
from tests.service.models.unreadable import cannot_list


def _put(root: Path, *versions: str) -> Path:
    for version in versions:
        folder = root / version
        folder.mkdir(parents=True)
        (folder / "manifest.json").write_text("{}")
    return root


def _keys(found: list[FoundVersion]) -> list[tuple[str, int]]:
    return [version.key for version in found]


def test_scan_lists_by_name_and_the_highest_version_first(tmp_path: Path) -> None:
    root = _put(tmp_path / "models", "ovals/1", "ovals/10", "ovals/2", "faces/3")
    found = scan([root])
    assert _keys(found) == [("faces", 3), ("ovals", 10), ("ovals", 2), ("ovals", 1)]
    assert found[1].folder == root / "ovals" / "10"


def test_scan_passes_over_what_is_no_version(tmp_path: Path) -> None:
    root = _put(tmp_path / "models", "ovals/1", "ovals/latest", "ovals/0", "ovals/01", ".git/1")
    (root / "ovals" / "2").write_text("a file")
    (root / "README.md").write_text("a file")
    (root / "empty").mkdir()
    assert _keys(scan([root])) == [("ovals", 1)]


def test_the_first_repository_that_has_a_name_wins(tmp_path: Path) -> None:
    first = _put(tmp_path / "first", "ovals/1")
    second = _put(tmp_path / "second", "ovals/7", "faces/1")
    found = scan([first, second])
    assert _keys(found) == [("faces", 1), ("ovals", 1)]
    assert found[1].folder.is_relative_to(first)


def test_scan_follows_links(tmp_path: Path) -> None:
    real = _put(tmp_path / "real", "7")
    root = tmp_path / "models" / "ovals"
    root.mkdir(parents=True)
    (root / "1").symlink_to(real / "7", target_is_directory=True)
    assert _keys(scan([tmp_path / "models"])) == [("ovals", 1)]


def test_scan_gives_a_name_that_is_no_utf_8_as_text(tmp_path: Path) -> None:
    os.makedirs(os.fsencode(tmp_path) + b"/models/caf\xe9/1")
    (found,) = scan([tmp_path / "models"])
    assert found.key == ("caf?", 1)
    assert found.folder.is_dir()


def test_the_stamp_changes_with_any_file(tmp_path: Path) -> None:
    root = _put(tmp_path / "models", "ovals/1")
    before = scan([root])
    assert scan([root]) == before
    (root / "ovals/1/encoder.onnx").write_text("graph")
    after = scan([root])
    assert after != before
    os.utime(root / "ovals/1/encoder.onnx", ns=(1, 1))
    assert scan([root]) != after


def test_a_missing_repository_is_refused(tmp_path: Path) -> None:
    message = r"model repository `.*nowhere` does not exist or is no folder; correct RFVAE_MODEL"
    with pytest.raises(ArtifactError, match=message):
        scan([tmp_path / "nowhere"])


@pytest.mark.parametrize("place", [".", "ovals", "ovals/1"])
def test_a_repository_that_cannot_be_listed_is_not_an_empty_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    root = _put(tmp_path / "models", "ovals/1", "faces/1")
    cannot_list(root / place, errno.EMFILE, monkeypatch)
    message = (
        f"model repository `{root}` must be readable with every folder in it; got "
        f"`Too many open files` for `{root / place}`; correct that, or move the folder away"
    )
    with pytest.raises(ArtifactError, match=f"^{re.escape(message)}$"):
        scan([root])


@pytest.mark.parametrize("number", [errno.ENOENT, errno.ENOTDIR])
def test_a_folder_that_goes_while_it_is_listed_holds_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    root = _put(tmp_path / "models", "ovals/1", "faces/1")
    cannot_list(root / "ovals", number, monkeypatch)
    assert _keys(scan([root])) == [("faces", 1)]


def test_a_closed_folder_counts_only_if_a_model_may_be_called_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = _put(tmp_path / "models", "ovals/1")
    (root / "lost+found").mkdir()
    with monkeypatch.context() as patch:
        cannot_list(root / "lost+found", errno.EACCES, patch)
        assert _keys(scan([root])) == [("ovals", 1)]
    cannot_list(root / "ovals", errno.EACCES, monkeypatch)
    with pytest.raises(ArtifactError, match=r"got `Permission denied` for `.*/ovals`"):
        scan([root])


def test_a_closed_version_is_left_for_the_load_to_refuse(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = _put(tmp_path / "models", "ovals/1", "ovals/2")
    cannot_list(root / "ovals/2", errno.EACCES, monkeypatch)
    assert _keys(scan([root])) == [("ovals", 2), ("ovals", 1)]


def test_nothing_found_is_refused_with_what_a_repository_looks_like(tmp_path: Path) -> None:
    message = r"must hold NAME/VERSION/manifest.json; found none in `.*`$"
    with pytest.raises(ArtifactError, match=message):
        require_versions(scan([tmp_path]), [tmp_path])


def test_a_version_given_as_repository_is_recognized(tmp_path: Path) -> None:
    root = _put(tmp_path, "ovals/1") / "ovals" / "1"
    with pytest.raises(ArtifactError, match="is itself a version: name its grandparent"):
        require_versions(scan([root]), [root])


def test_something_found_is_enough(tmp_path: Path) -> None:
    root = _put(tmp_path, "ovals/1")
    require_versions(scan([root]), [root])
