"""A model, and inputs for it in every form."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from service.bulk.command import BulkOptions, open_encoder
from service.bulk.encoder import BulkEncoder
from service.bulk.sources import Reading
from service.settings import Settings
from tests.service.conftest import SIZE, Pixels, repository

__all__ = ["repository"]

N_IMAGES = 150  # more than two batches


@pytest.fixture
def settings(repository: Path) -> Settings:
    return Settings(model_repository=(repository,), device="cpu", lanes=2)


@pytest.fixture
def encoder(settings: Settings) -> Iterator[BulkEncoder]:
    opened = open_encoder(BulkOptions(Path("unused"), Path("unused.csv")), settings)
    yield opened
    opened.close()


@pytest.fixture
def reading(encoder: BulkEncoder) -> Reading:
    return Reading(encoder.model.manifest.image, max_pixels=2**20)


@pytest.fixture(scope="session")
def pictures() -> Pixels:
    """uint8 (n, height, width)."""
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (N_IMAGES, SIZE, SIZE), dtype=np.uint8)


@pytest.fixture
def npy(tmp_path: Path, pictures: Pixels) -> Path:
    path = tmp_path / "images.npy"
    np.save(path, pictures)
    return path
