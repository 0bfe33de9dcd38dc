"""Libraries of wheels are found and loaded in the order that is asked for."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from service.runtime.libraries import load_libraries


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package with two libraries that load, one that is none, and one that nobody asks for."""
    folder = tmp_path / "somelibs" / "math" / "lib"
    folder.mkdir(parents=True)
    real = next(path for path in Path("/").glob("lib*/**/libm.so.6") if path.is_file())
    for name in ("libsecond.so.2", "libfirst.so.1", "libother.so.1"):
        shutil.copy(real, folder / name)
    (folder / "libbroken.so.1").write_text("no library")
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def test_load_libraries_keeps_to_names_and_order(package: Path) -> None:
    names = ("libfirst", "libbroken", "libmissing", "libsecond")
    assert load_libraries("somelibs", "*/lib", names) == ["libfirst.so.1", "libsecond.so.2"]


def test_loaded_library_is_found_by_who_needs_it(package: Path) -> None:
    load_libraries("somelibs", "*/lib", ("libfirst",))
    mapped = Path("/proc/self/maps").read_text()
    assert "libfirst.so.1" in mapped
    assert "libother.so.1" not in mapped


def test_load_libraries_of_a_package_that_is_not_there_is_nothing() -> None:
    assert load_libraries("nosuchlibs", "*/lib", ("libfirst",)) == []
