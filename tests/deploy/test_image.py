"""The images, as far as they can be judged without building them."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.deploy.dockerfile import ROOT, read_stages, script

SERVICES = ("service", "service-gpu")
SIZES = script("deploy/image_size.py")


def test_dockerfile_is_clean() -> None:
    hadolint = Path(sys.executable).with_name("hadolint")

    done = subprocess.run([hadolint, ROOT / "Dockerfile"], capture_output=True, text=True)

    assert (done.returncode, done.stdout) == (0, "")


def test_images_that_others_made_have_a_fixed_version() -> None:
    bases = re.findall(r"^ARG \w+_IMAGE=(\S+)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"].values()
    images = [service["image"] for service in services if "build" not in service]

    assert len(bases) == 2
    assert len(images) == 2
    for image in [*bases, *images]:
        assert re.search(r":v?\d+\.\d+\.\d+", image), image


def test_dockerfile_builds_the_cpu_service_when_no_target_is_named() -> None:
    assert list(read_stages())[-1] == "service"


@pytest.mark.parametrize("name", [*SERVICES, "training"])
def test_dockerfile_runs_as_a_fixed_user(name: str) -> None:
    assert read_stages()[name].one("USER") == "65532:65532"


@pytest.mark.parametrize("name", SERVICES)
def test_dockerfile_starts_the_server_in_exec_form(name: str) -> None:
    stage = read_stages()[name]

    assert stage.command("ENTRYPOINT") == ["rfvae-serve"]
    assert stage.command("CMD") == ["serve"]


@pytest.mark.parametrize("name", SERVICES)
def test_dockerfile_checks_readiness_without_curl(name: str) -> None:
    assert read_stages()[name].command("HEALTHCHECK") == ["python", "-m", "service.probe"]


@pytest.mark.parametrize(
    ("name", "extras"),
    [("service", "cpu"), ("service-gpu", "gpu"), ("training", "cpu,train,export")],
)
def test_dockerfile_installs_dependencies_before_the_code(name: str, extras: str) -> None:
    steps = [text for word, text in read_stages()[f"build-{name}"].instructions if word == "RUN"]

    assert steps[-2:] == [
        f"sh deploy/install.sh /opt/rfvae {extras}",
        "sh deploy/install.sh /opt/rfvae",
    ]


@pytest.mark.parametrize("name", SERVICES)
def test_dockerfile_leaves_the_build_behind(name: str) -> None:
    stage = read_stages()[name]

    assert stage.one("COPY") == f"--from=build-{name} /opt/rfvae /opt/rfvae"
    assert not [text for text in stage.all("RUN") if "pip" in text or "gcc" in text]


def test_dockerignore_lets_in_what_is_installed_and_nothing_else(tmp_path: Path) -> None:
    SIZES.copy_build_context(tmp_path)

    assert {path.name for path in tmp_path.iterdir()} == {
        *("LICENSE", "README.md", "constraints.txt", "pyproject.toml"),
        *("deploy", "onnx_export", "service", "training"),
    }
    assert [path.name for path in (tmp_path / "deploy").iterdir()] == ["install.sh"]
