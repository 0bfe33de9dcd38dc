"""Small settings that train in a second, and one thread, so that tests are quick and exact."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from training.config import Config
from training.config_file import config_toml, parse_config

TINY = {
    "data": {"name": "oval-dsprites", "size": 32},
    "model": {"latent_dim": 4, "hidden_units": 16, "initialization": "kaiming"},
    "objective": {"tc_weight": 5.0},
    "relevance": {"frozen_steps": 2},
    "optimizer": {"learning_rate": 1e-3},
    "discriminator": {
        "hidden_units": 16,
        "hidden_layers": 2,
        "learning_rate": 1e-3,
        "history": 3,
    },
    "run": {"steps": 8, "batch_size": 4, "log_every": 3, "threads": 1, "device": "cpu"},
}

MakeConfig = Callable[..., Config]


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def make_config() -> MakeConfig:
    """Build the tiny configuration with changes: `make_config(run={"steps": 3})`."""

    def make(**changes: dict[str, object]) -> Config:
        sections = {name: TINY.get(name, {}) | changes.get(name, {}) for name in TINY}
        return parse_config(sections, origin="test")

    return make


@pytest.fixture
def config_file(tmp_path: Path, make_config: MakeConfig) -> Path:
    """The tiny configuration as a file."""
    path = tmp_path / "tiny.toml"
    path.write_text(config_toml(make_config()))
    return path
