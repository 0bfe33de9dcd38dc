"""How many processes answer, and what share of the cores each plans its batches for.

One event loop keeps little more than one core busy, as it holds Python's lock; measured on two
cores, two processes answer a third more requests a second than one with two lanes.
"""

import sys
from typing import Final

from service.runtime.sessions import resolve_device
from service.runtime.threads import CpuBudget, cpu_budget
from service.settings import Settings

MOST_CHOSEN: Final = 4  # more are for who asks: each takes memory


def plan_processes(settings: Settings, budget: CpuBudget | None = None) -> int:
    """The number asked for, or one a core up to four; one on a GPU, which one process fills."""
    if settings.processes:
        return settings.processes
    if sys.platform != "linux" or resolve_device(settings.device) != "cpu":
        return 1
    return min((budget or cpu_budget()).cores, MOST_CHOSEN)


def settings_of_worker(
    settings: Settings, processes: int, budget: CpuBudget | None = None
) -> Settings:
    """The settings of one of several processes: its lanes are its share of the cores.

    More would answer one large request sooner on an idle machine, and cost a tenth of the rate of
    small ones on a busy one.
    """
    if settings.lanes or resolve_device(settings.device) != "cpu":
        return settings
    cores = (budget or cpu_budget()).cores // (settings.threads or 1)
    lanes = max(cores // processes, 1)
    return settings.model_copy(update={"processes": processes, "lanes": lanes})
