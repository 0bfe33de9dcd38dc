"""Runs every curl command of the READMEs with real curl against a real server process."""

import json
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from PIL import Image

from service.settings import BUNDLED
from tests.service.process import serve
from tests.service.tiny_model import write_tiny_repository

Run = Callable[[str], str]

ROOT = Path(__file__).parents[2]
DOCUMENTS = [path for path in (ROOT / "README.md", ROOT / "service/README.md") if path.exists()]
READ_FILE = re.compile(r"@([\w./-]+)")
ADDRESS = re.compile(r"http://(?:127\.0\.0\.1|localhost):8000")
BLOCK = re.compile(r"^```(?:sh|bash|console)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def _commands(document: Path) -> list[str]:
    """Lines that begin with curl in the shell blocks, continued lines joined."""
    blocks = "\n".join(BLOCK.findall(document.read_text()))
    lines = blocks.replace("\\\n", " ").splitlines()
    return [line.strip() for line in lines if line.strip().startswith("curl ")]


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server with the bundled models, or with the tiny one while there are none."""
    repository = BUNDLED
    if not any(BUNDLED.glob("*/*/manifest.json")):
        repository = write_tiny_repository(tmp_path_factory.mktemp("repository"))
    with serve(repository) as server:
        yield server.url


@pytest.fixture
def run(url: str, tmp_path: Path) -> Run:
    """Runs a command, which must answer 2xx, in a folder with the files of this tree it reads."""
    assert shutil.which("curl"), "these tests need curl"

    def run_one(command: str) -> str:
        for name in READ_FILE.findall(command):
            if not (tmp_path / name).exists():
                assert (ROOT / name).is_file(), f"`{name}` is missing: {command}"
                (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / name, tmp_path / name)
        there = ADDRESS.sub(url, command).replace("curl ", "curl --fail-with-body ", 1)
        done = subprocess.run(
            ["bash", "-c", there],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
        return done.stdout

    return run_one


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_curl_commands_of_the_document_all_work(document: Path, run: Run, tmp_path: Path) -> None:
    commands = _commands(document)

    outputs = {command: run(command) for command in commands}

    assert commands
    for command, output in outputs.items():
        if "-o " not in command and "/metrics" not in command:
            assert json.loads(output), command
    for picture in [*tmp_path.glob("*.png"), *tmp_path.glob("*.gif")]:
        with Image.open(picture) as image:
            image.load()


def test_curl_shows_a_traversal_that_a_person_can_look_at(run: Run, tmp_path: Path) -> None:
    encode, traverse = [
        next(line for line in _commands(ROOT / "service/README.md") if f"/{route} " in line)
        for route in ("decode", "traverse")
    ]
    run(encode)
    run(traverse)
    facts = json.loads(run("curl -s http://127.0.0.1:8000/factors"))
    about = json.loads(run(f"curl -s http://127.0.0.1:8000/models/{facts['model']}"))

    size = next(iter(about["manifests"].values()))["image"]
    with Image.open(tmp_path / "traversal.png") as grid:
        columns, rows = 11, facts["n_relevant"]
        assert grid.size == (columns * (size["width"] + 2) - 2, rows * (size["height"] + 2) - 2)


def test_curl_sees_why_a_request_was_refused(url: str) -> None:
    done = subprocess.run(
        ["curl", "-s", "-w", "%{http_code}", f"{url}/encode", "--data", "x"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )

    assert done.stdout.endswith("415")
    assert "with curl say -H 'Content-Type: image/png'" in done.stdout
