"""Lanes and threads from affinity and cgroup quota."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from service.runtime.threads import CpuBudget, cpu_budget, plan_lanes


@pytest.fixture
def cgroup(tmp_path: Path) -> Path:
    (tmp_path / "fs").mkdir()
    return tmp_path


def _budget(cgroup: Path, self_cgroup: str, files: dict[str, str], cores: int = 8) -> CpuBudget:
    (cgroup / "self").write_text(self_cgroup)
    for name, text in files.items():
        path = cgroup / "fs" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return cpu_budget(self_cgroup=cgroup / "self", cgroup_root=cgroup / "fs", cores=cores)


@pytest.mark.parametrize(
    ("cpu_max", "quota", "cores"),
    [("200000 100000", 2.0, 2), ("150000 100000", 1.5, 1), ("50000 100000", 0.5, 1)],
)
def test_budget_reads_the_quota_of_cgroup_v2(
    cgroup: Path, cpu_max: str, quota: float, cores: int
) -> None:
    budget = _budget(cgroup, "0::/\n", {"cpu.max": f"{cpu_max}\n"})
    assert budget == CpuBudget(8, quota)
    assert budget.cores == cores


def test_budget_without_a_quota_is_the_affinity(cgroup: Path) -> None:
    budget = _budget(cgroup, "0::/\n", {"cpu.max": "max 100000\n"})
    assert budget == CpuBudget(8, None)
    assert budget.cores == 8


def test_budget_takes_the_tightest_group_above(cgroup: Path) -> None:
    files = {"a/cpu.max": "300000 100000", "a/b/cpu.max": "max 100000", "cpu.max": "900000 100000"}
    assert _budget(cgroup, "0::/a/b\n", files).quota_cores == 3.0


@pytest.mark.parametrize("controller", ["cpu", "cpu,cpuacct"])
def test_budget_reads_the_quota_of_cgroup_v1(cgroup: Path, controller: str) -> None:
    files = {
        f"{controller}/cpu.cfs_quota_us": "-1\n",
        f"{controller}/pod/cpu.cfs_quota_us": "250000\n",
        f"{controller}/pod/cpu.cfs_period_us": "100000\n",
    }
    text = f"3:memory:/other\n2:{controller}:/pod\n0::/\n"
    assert _budget(cgroup, text, files).quota_cores == 2.5


def test_budget_finds_the_quota_of_a_container_that_sees_its_hosts_path(cgroup: Path) -> None:
    files = {"cpu/cpu.cfs_quota_us": "100000", "cpu/cpu.cfs_period_us": "100000"}
    assert _budget(cgroup, "2:cpu:/docker/abc\n", files).quota_cores == 1.0


def test_budget_of_a_machine_without_cgroups_is_the_affinity(tmp_path: Path) -> None:
    budget = cpu_budget(self_cgroup=tmp_path / "none", cgroup_root=tmp_path)
    assert budget == CpuBudget(len(os.sched_getaffinity(0)), None)


def test_budget_is_never_more_than_the_affinity(cgroup: Path) -> None:
    assert _budget(cgroup, "0::/\n", {"cpu.max": "900000 100000"}, cores=4).cores == 4


@pytest.mark.parametrize(
    ("asked", "lanes", "threads"),
    [({}, 4, 1), ({"lanes": 2}, 2, 1), ({"threads": 2}, 2, 2), ({"threads": 9}, 1, 9)],
)
def test_plan_on_a_cpu_is_one_lane_a_core(asked: dict[str, int], lanes: int, threads: int) -> None:
    plan = plan_lanes(CpuBudget(4, None), **asked)
    assert (plan.lanes, plan.threads) == (lanes, threads)
    assert plan.reason == "affinity 4 cores, cgroup quota none"


def test_plan_says_the_quota() -> None:
    plan = plan_lanes(CpuBudget(4, 2.5))
    assert plan.lanes == 2
    assert plan.reason == "affinity 4 cores, cgroup quota 2.5"


def test_plan_on_a_gpu_is_one_lane() -> None:
    assert plan_lanes(CpuBudget(16, None), device="cuda").lanes == 1
    assert plan_lanes(CpuBudget(16, None), device="tensorrt", lanes=2).lanes == 2
