"""How many batches run at once and on how many threads each, from what this process may use.

On a CPU, as many single-thread lanes as cores beat threads inside a batch: no barrier between
threads, and batches of different operations overlap. ONNX Runtime itself looks at neither the
cgroup quota nor `OMP_NUM_THREADS` (onnxruntime issue 29510).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Device = Literal["auto", "cpu", "cuda", "tensorrt"]

SELF_CGROUP = Path("/proc/self/cgroup")
CGROUP_ROOT = Path("/sys/fs/cgroup")
V1_CONTROLLERS = ("cpu,cpuacct", "cpu")


@dataclass(frozen=True)
class CpuBudget:
    """What the scheduler lets this process use: cores by affinity, cores by cgroup quota."""

    affinity_cores: int
    quota_cores: float | None

    @property
    def cores(self) -> int:
        """Whole cores that may be kept busy, at least 1."""
        if self.quota_cores is None:
            return self.affinity_cores
        return max(1, int(min(self.affinity_cores, self.quota_cores)))


@dataclass(frozen=True)
class LanePlan:
    """`lanes` batches at a time, each on `threads` threads; `reason` is for the log."""

    lanes: int
    threads: int
    reason: str


def cpu_budget(
    *, self_cgroup: Path = SELF_CGROUP, cgroup_root: Path = CGROUP_ROOT, cores: int | None = None
) -> CpuBudget:
    """Read CPU affinity and the tightest cgroup quota (v1 or v2) of this process.

    Args:
        cores: instead of the affinity of this process.
    """
    quotas = [*_v2_quotas(self_cgroup, cgroup_root), *_v1_quotas(self_cgroup, cgroup_root)]
    return CpuBudget(cores or _affinity_cores(), min(quotas, default=None))


def plan_lanes(
    budget: CpuBudget, *, device: Device = "cpu", lanes: int = 0, threads: int = 0
) -> LanePlan:
    """Choose lanes and threads; 0 means choose, anything else is taken as it is.

    Args:
        device: the device in use, with "auto" already resolved.
    """
    if device in {"cuda", "tensorrt"}:
        return LanePlan(lanes or 1, threads or 1, f"one lane keeps a GPU busy ({device})")
    lanes = lanes or max(1, budget.cores // (threads or 1))
    quota = "none" if budget.quota_cores is None else f"{budget.quota_cores:g}"
    reason = f"affinity {budget.affinity_cores} cores, cgroup quota {quota}"
    return LanePlan(lanes, threads or 1, reason)


def _affinity_cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _v2_quotas(self_cgroup: Path, root: Path) -> Iterator[float]:
    """`cpu.max` of the process's group and of every group above it: "max" or "quota period"."""
    path = _group_path(self_cgroup, lambda controllers: controllers == "")
    for group in _with_parents(root, path):
        fields = _read(group / "cpu.max").split()
        if len(fields) == 2 and fields[0].isdigit():
            yield int(fields[0]) / int(fields[1])


def _v1_quotas(self_cgroup: Path, root: Path) -> Iterator[float]:
    path = _group_path(self_cgroup, lambda controllers: "cpu" in controllers.split(","))
    for controller in V1_CONTROLLERS:
        for group in _with_parents(root / controller, path):
            quota = _read(group / "cpu.cfs_quota_us").strip()
            period = _read(group / "cpu.cfs_period_us").strip()
            if quota.isdigit() and period.isdigit():  # no quota is "-1"
                yield int(quota) / int(period)


def _group_path(self_cgroup: Path, is_wanted: Callable[[str], bool]) -> str:
    for line in _read(self_cgroup).splitlines():
        _, controllers, path = line.split(":", 2)
        if is_wanted(controllers):
            return path.strip("/")
    return ""


def _with_parents(root: Path, path: str) -> Iterator[Path]:
    """`root` and each folder down to `path`; inside a container lower ones may not be there."""
    group = root
    yield group
    for part in path.split("/") if path else ():
        group = group / part
        yield group


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
