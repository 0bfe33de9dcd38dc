"""Each useless end is seen, said once, and said with what to change."""

import math
from collections.abc import Callable

import pytest

from training.config import Config
from training.diagnosis import Diagnosis
from training.fit import Record

MakeConfig = Callable[..., Config]


def record(step: int = 5000, **changes: object) -> Record:
    healthy = {
        "step": step,
        "schedule_step": step,
        "relevance": [0.9, 0.1, 0.9, 0.2],
        "kl": 6.0,
        "kl_per_dim": [3.0, 0.0, 3.0, 0.0],
        "discriminator_loss": 0.6,
    }
    return healthy | changes


@pytest.fixture
def diagnosis(make_config: MakeConfig) -> Diagnosis:
    return Diagnosis(make_config(run={"steps": 9000}), first=0)


def test_healthy_run_is_told_nothing(diagnosis: Diagnosis) -> None:
    assert [diagnosis.look(record(step)) for step in (100, 5000, 9000)] == [[], [], []]


def test_closed_gate_is_told_once(diagnosis: Diagnosis) -> None:
    closed = record(relevance=[0.4, 0.0, 0.1, 0.2])
    (warning,) = diagnosis.look(closed)
    assert warning.startswith("every relevance is below 0.5")
    assert "lower `objective.sparsity_weight`" in warning
    assert diagnosis.look(closed) == []


def test_closed_gate_is_no_finding_while_it_has_just_been_released(diagnosis: Diagnosis) -> None:
    assert diagnosis.look(record(500, relevance=[0.4, 0.0, 0.1, 0.2])) == []


def test_open_gate_is_a_finding_at_the_end_only(diagnosis: Diagnosis) -> None:
    wide = [0.9, 0.8, 0.9, 0.7]
    assert diagnosis.look(record(relevance=wide)) == []
    (warning,) = diagnosis.look(record(9000, relevance=wide))
    assert warning.startswith("every relevance is above 0.5")
    assert "raise `objective.sparsity_weight`" in warning


def test_fixed_gate_is_never_a_finding(make_config: MakeConfig) -> None:
    fixed = Diagnosis(make_config(relevance={"mode": "fixed", "initial": 0}), first=0)
    assert fixed.look(record(9000, relevance=[0.0] * 4)) == []


def test_discriminator_at_chance_since_the_start_is_a_finding(diagnosis: Diagnosis) -> None:
    blind = {"discriminator_loss": math.log(2)}
    assert diagnosis.look(record(1000, **blind)) == []
    (warning,) = diagnosis.look(record(3000, **blind))
    assert "has seen no difference" in warning
    assert "raise `discriminator.learning_rate`" in warning


def test_discriminator_at_chance_later_is_none(diagnosis: Diagnosis) -> None:
    diagnosis.look(record(1000))
    assert diagnosis.look(record(3000, discriminator_loss=math.log(2))) == []


def test_codes_without_information_are_a_finding(diagnosis: Diagnosis) -> None:
    (warning,) = diagnosis.look(record(kl=0.001, kl_per_dim=[0.0] * 4))
    assert "lower `objective.kl_weight_max`" in warning
