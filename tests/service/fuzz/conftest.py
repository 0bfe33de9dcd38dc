"""One running application that hundreds of examples knock at, one after the other."""

import asyncio
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from service.api.call import Service
from service.app import create_app
from service.settings import Settings
from tests.service.asgi import Answer, call, http_scope
from tests.service.tiny_model import write_tiny_repository
from tests.service.tiny_rows import write_tiny_rows


class Door:
    """Sends requests to an application that keeps running between them."""

    def __init__(self, app: Any, runner: asyncio.Runner) -> None:
        self._app = app
        self._runner = runner
        self.service: Service = app.state.service

    def post(self, path: str, body: bytes, **headers: str) -> Answer:
        """Posts the body in two chunks."""
        route, _, query = path.partition("?")
        scope = http_scope("POST", route, query, headers)
        half = len(body) // 2
        return self._runner.run(call(self._app, scope, [body[:half], body[half:]]))


@pytest.fixture(scope="module")
def two_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with a model of images, `tiny`, and one of rows, `rows`."""
    return write_tiny_rows(write_tiny_repository(tmp_path_factory.mktemp("two")))


@pytest.fixture(scope="module")
def door(two_models: Path) -> Iterator[Door]:
    """An application with both models."""
    settings = Settings(
        model_repository=(two_models,), default_model="tiny", lanes=1, access_log="none"
    )
    app = create_app(settings)
    with asyncio.Runner() as runner:
        lifespan = app.router.lifespan_context(app)
        runner.run(lifespan.__aenter__())
        assert runner.run(app.state.service.lifecycle.settled()) is None
        yield Door(app, runner)
        runner.run(lifespan.__aexit__(None, None, None))


@pytest.fixture(autouse=True)
def _no_error_is_logged(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    yield
    errors = [entry for entry in caplog.get_records("call") if entry.levelno >= logging.ERROR]
    assert not errors
