"""Settings of the C and OpenMP libraries: made before torch, and only where nobody chose."""

import os
import platform
import subprocess
import sys

import pytest

from training.cpu import keep_freed_memory, wait_politely


def test_wait_politely_bounds_the_spinning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    monkeypatch.setenv("GOMP_SPINCOUNT", "")
    monkeypatch.delenv("GOMP_SPINCOUNT")
    wait_politely()
    assert os.environ["GOMP_SPINCOUNT"] == "10000"


@pytest.mark.parametrize(
    ("name", "value"), [("OMP_WAIT_POLICY", "active"), ("GOMP_SPINCOUNT", "5")]
)
def test_wait_politely_respects_the_environment(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    for variable in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT"):
        monkeypatch.setenv(variable, "")
        monkeypatch.delenv(variable)
    monkeypatch.setenv(name, value)
    wait_politely()
    assert os.environ.get(name) == value
    assert os.environ.get("GOMP_SPINCOUNT") in (None, "5")


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="a setting of glibc")
def test_keep_freed_memory_works_with_glibc() -> None:
    assert keep_freed_memory()


def test_command_line_sets_both_before_torch_is_imported() -> None:
    code = "import sys, training.cli; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
