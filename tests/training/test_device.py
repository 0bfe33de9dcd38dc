"""What a run says about where it computes."""

import pytest
import torch
from rich.console import Console

from tests.training.conftest import MakeConfig
from training.config import Config
from training.device import choose_device, describe_device, join, machine_name
from training.ranks import Ranks

WIDE = {"hidden_units": 512, "hidden_layers": 2}


def said(make_config: MakeConfig, **changes: object) -> list[str]:
    config = make_config(**changes)
    return describe_device(config, choose_device(config))


@pytest.mark.parametrize(
    ("changes", "is_said"),
    [
        ({"discriminator": WIDE}, True),
        ({"discriminator": WIDE | {"hidden_units": 511}}, False),
        ({"discriminator": WIDE | {"hidden_layers": 1}}, False),
        ({"discriminator": WIDE | {"precision": "float32"}}, False),
        ({"discriminator": WIDE, "run": {"precision": "bfloat16", "device": "cpu"}}, False),
        ({"discriminator": WIDE, "objective": {"tc_weight": 0}}, False),
    ],
)
def test_a_discriminator_that_multiplies_in_bfloat16_is_said(
    changes: dict[str, object],
    is_said: bool,
    make_config: MakeConfig,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("training.discriminator.has_matrix_tiles", lambda: True)
    lines = said(make_config, **changes)
    assert lines[0] == "Device: CPU, 1 thread (`run.device` asks for it)"
    assert [line.startswith("Discriminator: its products take bfloat16") for line in lines[1:]] == (
        [True] if is_said else []
    )


def test_nothing_is_said_on_a_processor_without_tiles(
    make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.discriminator.has_matrix_tiles", lambda: False)
    assert len(said(make_config, discriminator=WIDE)) == 1


def test_machine_name_ends_with_the_threads_in_use() -> None:
    assert machine_name(torch.device("cpu")).endswith(", 1 thread")


class _Second(Ranks):
    rank, size = 1, 2


def test_every_process_takes_the_threads_that_are_asked_for(
    make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def launch(config: Config, *, accelerator: str) -> tuple[Ranks, None]:
        torch.set_num_threads(2)  # as the launcher does
        return _Second(), None

    monkeypatch.setattr("training.device.launch", launch)
    join(make_config(run={"threads": 1}), Console())
    assert torch.get_num_threads() == 1
