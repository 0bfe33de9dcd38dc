"""How the application starts: which models answer, and one line when it cannot."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from service.app import create_app
from service.settings import Settings
from tests.service.conftest import StartService, as_file, picture
from tests.service.tiny_model import read_manifest, write_tiny_model

PNG = {"Content-Type": "image/png"}
GOOD = as_file(picture())


async def test_apps_are_independent_of_each_other(start_service: StartService) -> None:
    async with start_service() as first, start_service(max_steps=5) as second:
        await first.client.post("/encode", content=GOOD, headers=PNG)
        metrics = (await second.client.get("/metrics")).text
        steps = [
            (await started.client.post("/traverse?steps=6")).status_code
            for started in (first, second)
        ]

    assert 'rfvae_requests_total{operation="encode",outcome="ok"} 0.0' in metrics
    assert steps == [200, 422]


async def test_app_answers_with_the_highest_version_by_default(
    start_service: StartService, tmp_path: Path
) -> None:
    for version in (1, 2):
        write_tiny_model(tmp_path / "tiny" / str(version), version=version, seed=version)

    async with start_service(model_repository=(tmp_path,)) as started:
        default, older = [
            await started.client.post(path, content=GOOD, headers=PNG)
            for path in ("/encode", "/encode?version=1")
        ]

    assert (default.json()["version"], older.json()["version"]) == (2, 1)
    assert default.json()["mu"] != older.json()["mu"]


async def test_app_answers_with_the_default_model_of_the_settings(
    start_service: StartService, tmp_path: Path
) -> None:
    for name in ("alpha", "beta"):
        write_tiny_model(tmp_path / name / "1", name=name)

    async with start_service(model_repository=(tmp_path,), default_model="beta") as started:
        answer = await started.client.get("/factors")

    assert answer.json()["model"] == "beta"


@pytest.mark.parametrize(
    ("damage", "text"),
    [
        ("missing", "does not exist or is no folder"),
        ("tampered", "was changed after the export"),
        ("later", "has format 3; this service reads up to 2; upgrade the service"),
        (
            "default",
            "the default model must be in the repository, which holds `tiny`; `other` is not",
        ),
    ],
)
async def test_app_says_in_one_line_why_it_cannot_start(
    start_service: StartService, tmp_path: Path, damage: str, text: str
) -> None:
    folder = write_tiny_model(tmp_path / "models" / "tiny" / "1")
    settings: dict[str, Any] = {"model_repository": (tmp_path / "models",)}
    if damage == "missing":
        settings["model_repository"] = (tmp_path / "nowhere",)
    elif damage == "tampered":
        graph = bytearray((folder / "encoder.onnx").read_bytes())
        graph[-1] ^= 1
        (folder / "encoder.onnx").write_bytes(graph)
    elif damage == "later":
        later = {**read_manifest(folder), "format_version": 3}
        (folder / "manifest.json").write_text(json.dumps(later))
    else:
        settings["default_model"] = "other"

    async with start_service(**settings) as started:
        failure = started.service.lifecycle.failure

    assert failure is not None
    assert text in failure.detail
    assert "\n" not in failure.detail


def test_app_starts_where_torch_cannot_be_imported(repository: Path) -> None:
    program = f"""
import sys
for name in ("torch", "onnx", "sklearn", "matplotlib", "training", "onnx_export"):
    sys.modules[name] = None
import asyncio, httpx
from pathlib import Path
from service.app import create_app
from service.settings import Settings
import service.cli, service.transport.server

async def main():
    app = create_app(Settings(model_repository=(Path({str(repository)!r}),), lanes=1))
    async with app.router.lifespan_context(app):
        await app.state.service.lifecycle.settled()
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            print((await client.post("/traverse")).status_code)

asyncio.run(main())
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False
    )

    assert (done.stdout.strip(), done.returncode) == ("200", 0), done.stderr


def test_app_has_no_routes_of_fastapi_itself() -> None:
    paths = {getattr(route, "path", "") for route in create_app(Settings()).routes}

    assert "/redoc" not in paths
    assert "/docs/oauth2-redirect" not in paths
