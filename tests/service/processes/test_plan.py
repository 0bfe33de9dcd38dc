"""How many processes answer, and their share of the cores."""

import sys

import pytest

from service.processes.plan import plan_processes, settings_of_worker
from service.runtime.threads import CpuBudget
from service.settings import Settings


@pytest.mark.skipif(sys.platform != "linux", reason="one process is chosen elsewhere")
@pytest.mark.parametrize(("cores", "processes"), [(1, 1), (2, 2), (4, 4), (64, 4)])
def test_a_cpu_gets_a_process_a_core_up_to_four(cores: int, processes: int) -> None:
    assert plan_processes(Settings(device="cpu"), CpuBudget(cores, None)) == processes


def test_a_quota_counts_as_cores_do() -> None:
    assert plan_processes(Settings(device="cpu"), CpuBudget(16, 1.5)) == 1


@pytest.mark.parametrize("device", ["cuda", "tensorrt"])
def test_a_gpu_gets_one_process(device: str) -> None:
    assert plan_processes(Settings(device=device), CpuBudget(16, None)) == 1


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_what_was_asked_for_is_taken(device: str) -> None:
    assert plan_processes(Settings(device=device, processes=3), CpuBudget(16, None)) == 3


@pytest.mark.parametrize(
    ("cores", "processes", "lanes"),
    [(1, 2, 1), (2, 2, 1), (4, 4, 1), (16, 4, 4), (64, 4, 16)],
)
def test_lanes_are_the_share_of_the_cores(cores: int, processes: int, lanes: int) -> None:
    own = settings_of_worker(Settings(device="cpu"), processes, CpuBudget(cores, None))

    assert (own.processes, own.lanes) == (processes, lanes)


def test_threads_inside_a_lane_leave_fewer_lanes() -> None:
    own = settings_of_worker(Settings(device="cpu", threads=4), 2, CpuBudget(16, None))

    assert own.lanes == 2


@pytest.mark.parametrize("settings", [Settings(device="cpu", lanes=5), Settings(device="cuda")])
def test_lanes_that_were_asked_for_and_those_of_a_gpu_stay(settings: Settings) -> None:
    assert settings_of_worker(settings, 2, CpuBudget(16, None)) == settings
