"""A service with the tiny model, in this process, and pictures to send to it."""

import io
import logging
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import numpy.typing as npt
import pytest
from fastapi import FastAPI
from PIL import Image

from service.api.call import Service
from service.app import create_app
from service.batching.observer import Observer
from service.batching.policy import BatchPolicy
from service.batching.queue import Batcher
from service.models.registry import Registry
from service.models.repository import FoundVersion
from service.models.served import LoadOptions, ServedModel, load_model
from service.runtime.opening import EngineOptions
from service.settings import Settings
from tests.service.tiny_model import TinyWeights, write_tiny_repository

SIZE = 16
LATENT_DIM = 4
RELEVANT = [2, 0]

Pixels = npt.NDArray[np.uint8]
StartService = Callable[..., AbstractAsyncContextManager["Started"]]


@dataclass
class Started:
    """A running application and a client of it."""

    app: FastAPI
    client: httpx.AsyncClient

    @property
    def service(self) -> Service:
        service: Service = self.app.state.service
        return service


@pytest.fixture(autouse=True)
def _restore_loggers() -> Iterator[None]:
    """Undoes `configure_logging`, which commands call that run in this process."""
    loggers = [logging.getLogger(n) for n in ("service", "asyncio", "uvicorn.error")]
    before = [(logger.handlers, logger.level, logger.propagate) for logger in loggers]
    yield
    for logger, (handlers, level, propagate) in zip(loggers, before, strict=True):
        logger.handlers, logger.propagate = handlers, propagate
        logger.setLevel(level)


@pytest.fixture(scope="session")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with the tiny model, written once."""
    return write_tiny_repository(tmp_path_factory.mktemp("repository"))


@pytest.fixture(scope="session")
def weights() -> TinyWeights:
    """The tiny model in numpy, to say what the answers must be."""
    return TinyWeights((1, SIZE, SIZE), LATENT_DIM, 0)


@pytest.fixture
def start_service(repository: Path) -> StartService:
    """Starts an application with settings of the test's choice and waits until it settled."""

    @asynccontextmanager
    async def start(registry: Registry | None = None, **settings: Any) -> AsyncIterator[Started]:
        chosen = {"model_repository": (repository,), "lanes": 1, "access_log": "none", **settings}
        app = create_app(Settings(**chosen), registry)
        transport = httpx.ASGITransport(app)
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(transport=transport, base_url="http://test") as client,
        ):
            await app.state.service.lifecycle.settled()
            yield Started(app, client)

    return start


@pytest.fixture
async def client(start_service: StartService) -> AsyncIterator[httpx.AsyncClient]:
    """A client of a service with default settings."""
    async with start_service() as started:
        yield started.client


class Gate:
    """Holds the encoder's batches until it is opened; `entered` says that one is held."""

    def __init__(self) -> None:
        self.opened = threading.Event()
        self.entered = threading.Event()
        self.batches: list[int] = []

    def registry(self, observer: Observer | None = None, **policy: Any) -> Registry:
        """A registry whose models wait at the gate before they encode."""
        return Registry(lambda found: self._load(found, BatchPolicy(**policy), observer))

    def _load(
        self, found: FoundVersion, policy: BatchPolicy, observer: Observer | None
    ) -> ServedModel:
        model = load_model(found, LoadOptions(EngineOptions(device="cpu", lanes=1)))

        def encode(images: Any) -> Any:
            self.entered.set()
            self.batches.append(len(images))
            assert self.opened.wait(timeout=30)
            return model.engine.encode(images)

        def decode(z: Any) -> Any:
            return (model.engine.decode(z),)

        runners = {"encode": encode, "decode": decode}
        return replace(model, batcher=Batcher(runners, policy, observer=observer))


@pytest.fixture
def gate() -> Gate:
    """A gate; the test opens it."""
    return Gate()


def picture(seed: int = 0, *, size: int = SIZE, channels: int = 1) -> Pixels:
    """Noise, uint8 (size, size[, channels])."""
    shape = (size, size) if channels == 1 else (size, size, channels)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def as_file(pixels: Pixels, image_format: str = "PNG", **options: Any) -> bytes:
    """The pixels as an image file."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, image_format, **options)
    return buffer.getvalue()


def as_npy(array: npt.NDArray[Any]) -> bytes:
    """The array as `numpy.save` writes it."""
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=True)
    return buffer.getvalue()


def from_npy(content: bytes) -> npt.NDArray[Any]:
    """The array in an npy file."""
    array: npt.NDArray[Any] = np.load(io.BytesIO(content), allow_pickle=False)
    return array


def open_image(content: bytes) -> Image.Image:
    """A decoded image file."""
    image = Image.open(io.BytesIO(content))
    image.load()
    return image
