"""What the service stage installs, in an empty environment, run as the container would run it."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.deploy.dockerfile import read_stages, script
from tests.service.tiny_model import write_tiny_repository

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

SIZES = script("deploy/image_size.py")
USER = "65532"
MOST_MB = 245  # and of the wheels 75; both without the bundled models, whose number may grow
MOST_WHEELS_MB = 75
# Everything that is mounted becomes read-only, then the user changes as `USER` in the image does.
READ_ONLY = 'mount -o remount,ro,bind / && exec setpriv --reuid {0} --regid {0} --clear-groups "$@"'


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """A folder that every user can reach; pytest's own cannot be."""
    if os.geteuid() != 0:
        pytest.skip("needs root to become another user and to mount read-only")
    path = Path(tempfile.mkdtemp(prefix="rfvae-image-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


@pytest.fixture(scope="module")
def installed(folder: Path) -> Path:
    """The environment, made by the very commands of the build stage."""
    SIZES.copy_build_context(folder / "src")
    environment = folder / "rfvae"
    steps = read_stages()["build-service"].all("RUN")
    variables = {
        **os.environ,
        "PYTHON": _interpreter(),
        "PIP": f"{sys.executable} -m pip",
    }
    for step in steps:
        command = step.replace("/opt/rfvae", str(environment))
        subprocess.run(["sh", "-c", command], cwd=folder / "src", env=variables, check=True)
    shutil.rmtree(folder / "src")
    return environment


@pytest.fixture(scope="module")
def repository(folder: Path) -> Path:
    return write_tiny_repository(folder / "models")


def test_image_stays_small(installed: Path) -> None:
    assert SIZES.size_mb(installed) - _models_mb(installed) < MOST_MB


def test_wheels_of_the_image_stay_small(installed: Path, folder: Path) -> None:
    SIZES.copy_build_context(folder / "again")

    wheels = SIZES.download(folder / "again", installed, folder / "wheels")

    assert len(list(wheels.glob("rfvae-*.whl"))) == 1
    assert SIZES.size_mb(wheels) - _models_mb(installed) < MOST_WHEELS_MB


@pytest.mark.parametrize("module", ["torch", "onnx", "pip", "setuptools", "matplotlib"])
def test_image_does_not_hold(installed: Path, module: str) -> None:
    done = subprocess.run([installed / "bin/python", "-c", f"import {module}"], capture_output=True)

    assert b"ModuleNotFoundError" in done.stderr


def test_image_serves_from_a_read_only_tree_as_a_plain_user(
    installed: Path, repository: Path
) -> None:
    stage = read_stages()["service"]
    variables = {
        "PATH": f"{installed / 'bin'}:{os.environ['PATH']}",
        "HOME": "/tmp",
        "RFVAE_PORT": "0",
        "RFVAE_DRAIN_S": "0",
        "RFVAE_LOG_FORMAT": "json",
        "RFVAE_MODEL_REPOSITORY": str(repository),
    }
    command = [*_confined(), *stage.command("ENTRYPOINT"), *stage.command("CMD")]
    server = subprocess.Popen(command, env=variables, stdout=subprocess.PIPE, text=True)
    try:
        port = _port_of(server)
        assert _owner_of(server.pid) == USER
        probe = [*_confined(), *stage.command("HEALTHCHECK")]
        checked = subprocess.run(probe, env={**variables, "RFVAE_PORT": port}, timeout=60)
        assert checked.returncode == 0
        body = json.dumps({"latents": [[0, 0]]}).encode()
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/decode", body, {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            assert answer.read().startswith(b"\x89PNG")
        server.send_signal(signal.SIGTERM)
        assert server.wait(timeout=60) == 0
    finally:
        server.kill()
        server.communicate()


def _models_mb(installed: Path) -> float:
    size_mb: float = SIZES.size_mb(SIZES.bundled_models(installed))
    return size_mb


def _interpreter() -> str:
    """A Python that another user may run; one in root's home is none."""
    for path in (
        sys.executable,
        "/usr/bin/python3.11",
        "/usr/local/bin/python3",
        "/usr/bin/python3",
    ):
        real = os.path.realpath(path)
        asked = ["setpriv", "--reuid", USER, "--clear-groups", real, "-c", "import tomllib"]
        if Path(real).exists() and subprocess.run(asked, capture_output=True).returncode == 0:
            return real
    pytest.skip("needs a Python 3.11 outside root's home, such as Debian's python3")


def _confined() -> list[str]:
    return ["unshare", "--mount", "sh", "-c", READ_ONLY.format(USER), "sh"]


def _port_of(server: "subprocess.Popen[str]") -> str:
    assert server.stdout is not None
    for line in server.stdout:
        found = re.search(r"http://\S+?:(\d+)", line)
        if found:
            return found[1]
    raise AssertionError("the server ended before it was ready")


def _owner_of(pid: int) -> str:
    status = Path(f"/proc/{pid}/status").read_text()
    return re.search(r"^Uid:\t(\d+)", status, re.M)[1]  # type: ignore[index]
