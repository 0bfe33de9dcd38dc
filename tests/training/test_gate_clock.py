"""The gate's clock: when it opens, and where the schedules stand meanwhile."""

from typing import Any

import pytest
import torch

from training.config import RelevanceConfig
from training.gate_clock import LOOK_EVERY, GateClock

CPU = torch.device("cpu")
AWAKE, SILENT = 5.0, 0.1
WAITING: dict[str, Any] = {"frozen_steps": 100, "wait_from": 80, "wait_steps": 400}


def clock(**settings: Any) -> GateClock:
    return GateClock(RelevanceConfig(**settings), latent_dim=3, device=CPU)


def kl(*values: float) -> torch.Tensor:
    return torch.tensor(values)


def opening(own: GateClock, wakes: dict[int, int], *, steps: int = 1000) -> int:
    """First step at which the gate is open, when dimension d wakes at step wakes[d]."""
    for step in range(steps):
        if own.is_open(step):
            return step
        own.observe(
            step, kl(*(AWAKE if step >= wakes.get(dim, steps) else SILENT for dim in range(3)))
        )
    raise AssertionError("the gate never opened")


@pytest.mark.parametrize(("step", "is_open"), [(0, False), (9, False), (10, True), (11, True)])
def test_gate_that_waits_for_nothing_opens_after_its_frozen_steps(step: int, is_open: bool) -> None:
    own = clock(frozen_steps=10)
    assert own.is_open(step) is is_open
    assert own.position(step) == step


def test_fixed_gate_never_opens_and_holds_no_schedule() -> None:
    own = clock(mode="fixed", initial=1, **WAITING)
    own.observe(10**6, kl(AWAKE, AWAKE, AWAKE))
    assert not own.is_open(10**6)
    assert own.position(10**6) == 10**6


def test_gate_opens_at_once_when_a_dimension_woke_before_it_began_to_wait() -> None:
    assert opening(clock(**WAITING), {0: 0, 1: 85}) == 100


def test_gate_waits_for_a_dimension_to_wake() -> None:
    opened = opening(clock(**WAITING), {0: 0, 1: 230})
    assert 230 < opened <= 230 + 2 * LOOK_EVERY


def test_dimension_that_was_awake_before_opens_no_gate() -> None:
    assert opening(clock(**WAITING), {0: 0}) == 500  # 100 and the longest wait


@pytest.mark.parametrize("wait_steps", [1, LOOK_EVERY - 1, LOOK_EVERY, 30, 1995])
def test_gate_waits_no_longer_than_it_may(wait_steps: int) -> None:
    settings = WAITING | {"wait_steps": wait_steps}
    assert opening(clock(**settings), {}, steps=2200) == 100 + wait_steps


def test_gate_waits_for_as_many_dimensions_as_are_asked_for() -> None:
    settings = WAITING | {"wait_dims": 2}
    assert 310 < opening(clock(**settings), {1: 130, 2: 310}) <= 310 + 2 * LOOK_EVERY
    assert opening(clock(**settings), {0: 0, 1: 130}) == 500  # one alone is not enough


def test_gate_lets_the_dimensions_that_follow_settle() -> None:
    settings = WAITING | {"settle_steps": 100}
    alone = opening(clock(**settings), {0: 0, 1: 110})
    followed = opening(clock(**settings), {0: 0, 1: 110, 2: 180})
    assert 210 <= alone < 300
    assert followed >= alone + 50


def test_schedules_stand_still_while_the_gate_waits_and_go_on_from_there() -> None:
    own = clock(**WAITING)
    positions = []
    for step in range(400):
        positions.append(own.position(step))
        own.observe(step, kl(AWAKE if step >= 230 else SILENT, SILENT, SILENT))
    opened = int(own.numbers[0])
    assert positions[:101] == list(range(101))
    assert set(positions[100 : opened + 1]) == {100}
    assert positions[opened:] == list(range(100, 100 + 400 - opened))


def test_one_noisy_batch_opens_no_gate() -> None:
    own = clock(**WAITING)
    for step in range(300):
        own.observe(step, kl(SILENT, AWAKE if step == 199 else SILENT, SILENT))
    assert not own.is_open(300)


def test_silent_dimensions_are_noted_at_the_latest_when_the_wait_begins() -> None:
    late = clock(**WAITING | {"wait_from": 10_000})
    assert opening(late, {0: 0}) == 500  # awake before the wait: nothing to open for
    assert opening(clock(**WAITING | {"wait_from": 10_000}), {0: 0, 1: 110}) < 200
