"""What OpenAPI documents is what a real server does: no 5xx, no answer that it does not list."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis import Case, GenerationMode, checks
from schemathesis.schemas import APIOperation, BaseSchema

from service.app import create_app
from service.settings import Settings
from tests.service.fuzz import files
from tests.service.process import serve

HEALTH = [HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large]
FEW = settings(
    max_examples=4,
    derandomize=True,
    database=None,
    suppress_health_check=HEALTH,
)
MANY = settings(FEW, max_examples=150, derandomize=False, print_blob=True)
HOW_MANY = [pytest.param(FEW, id="few"), pytest.param(MANY, id="many", marks=pytest.mark.slow)]
TIMEOUT = "X-Request-Timeout-Ms"
KNOWN = [None, "tiny", "rows"]
# A schema cannot say which bytes are a picture, or how many numbers a row has.
UNDECIDABLE = [checks.positive_data_acceptance]

schemathesis.openapi.media_type("image/png", files.mutated(files.png_files()))
schemathesis.openapi.media_type("image/jpeg", files.mutated(files.jpeg_files()))
schemathesis.openapi.media_type("image/webp", files.mutated(files.webp_files()))
schemathesis.openapi.media_type("image/bmp", files.mutated(files.bmp_files()))
schemathesis.openapi.media_type(
    "application/x-npy",
    files.mutated([*files.image_arrays(), *files.latent_arrays(), *files.row_arrays()]),
)
schemathesis.openapi.media_type("application/octet-stream", files.mutated([files.oip_binary()[1]]))

SCHEMA: BaseSchema = schemathesis.openapi.from_dict(create_app(Settings()).openapi())
Operation = APIOperation[Any, Any, Any, Any]


def _can_be_wrong(operation: Operation) -> bool:
    """Whether there is more to it than a name in the path, which may be any text."""
    takes = operation.body or operation.query or operation.headers
    return bool(takes) or "{version}" in operation.path


CASES = [
    pytest.param(operation, mode, id=f"{operation.label} {mode.value}")
    for operation in (result.ok() for result in SCHEMA.get_all_operations())
    for mode in GenerationMode
    if mode is GenerationMode.POSITIVE or _can_be_wrong(operation)
]


@pytest.fixture(scope="module")
def url(two_models: Path) -> Iterator[str]:
    """A real server with both models; a failure in its log fails the module."""
    with serve(two_models, "--default-model", "tiny", "--access-log", "none") as server:
        yield server.url
        _, errors = server.end()
        assert "request_failed" not in errors


@pytest.fixture(scope="module")
def session() -> Iterator[requests.Session]:
    """One connection for all requests."""
    with requests.Session() as session:
        yield session


@pytest.mark.parametrize("how_many", HOW_MANY)
@pytest.mark.parametrize(("operation", "mode"), CASES)
def test_answer_is_one_that_openapi_documents(
    url: str,
    session: requests.Session,
    operation: Operation,
    mode: GenerationMode,
    how_many: settings,
) -> None:
    @how_many
    @given(operation.as_strategy(generation_mode=mode), st.sampled_from(KNOWN))
    def check(case: Case, model: str | None) -> None:
        _aim(case, model)
        response = case.call(base_url=url, session=session, timeout=30)
        case.validate_response(response, excluded_checks=UNDECIDABLE)

    check()


@pytest.mark.slow
def test_every_boundary_of_openapi_holds(url: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [
            *(sys.executable, "-m", "schemathesis.cli", "run", f"{url}/openapi.json"),
            *("--phases", "examples,coverage,fuzzing,stateful"),
            *("--max-examples", "100"),
            *("--checks", "all", "--exclude-checks", "positive_data_acceptance"),
            *("--generation-deterministic", "--continue-on-failure", "--no-color"),
            *("--header", f"{TIMEOUT}: 60000"),
        ],
        cwd=tmp_path,
        env=dict(os.environ),
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr


def _aim(case: Case, model: str | None) -> None:
    """Most of the cases ask for a model that is there, and all have time enough."""
    for place in (case.path_parameters, case.query):
        if model is not None and "model" in (place or {}):
            place["model"] = model
    if (case.headers or {}).get(TIMEOUT, "").isdigit():
        case.headers[TIMEOUT] = "60000"
