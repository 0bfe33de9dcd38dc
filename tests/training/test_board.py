"""TensorBoard's files, read back."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from rich.console import Console

from training.board import image_grid
from training.config import Config
from training.runs import start_run

MakeConfig = Callable[..., Config]


def test_board_has_scalars_a_grid_and_the_projector(
    tmp_path: Path, make_config: MakeConfig
) -> None:
    event_accumulator = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator"
    )
    config = make_config(run={"tensorboard": True})
    start_run(config, tmp_path / "run", console=Console(quiet=True))
    folder = tmp_path / "run" / "tensorboard"
    events = event_accumulator.EventAccumulator(str(folder)).Reload()
    assert [event.step for event in events.Scalars("terms/loss")] == [3, 6, 8]
    assert events.Scalars("relevance/0")[-1].value == pytest.approx(0.5, abs=0.01)
    assert [event.step for event in events.Images("reconstructions")] == [8]
    assert (folder / "projector_config.pbtxt").is_file()
    assert list(folder.glob("*/mu/sprite.png"))
    assert len(next(folder.glob("*/mu/tensors.tsv")).read_text().splitlines()) == 500


def test_no_board_unless_asked(tmp_path: Path, make_config: MakeConfig) -> None:
    start_run(make_config(), tmp_path / "run", console=Console(quiet=True))
    assert not (tmp_path / "run" / "tensorboard").exists()


def test_image_grid_puts_rows_below_each_other() -> None:
    images = torch.arange(4.0).view(4, 1, 1, 1).expand(4, 1, 2, 2)
    grid = image_grid(images, n_columns=2)
    assert grid.shape == (1, 8, 8)
    assert [grid[0, 1, 1], grid[0, 1, 5], grid[0, 5, 1], grid[0, 5, 5]] == [0, 1, 2, 3]
