"""What the system says that the processes of one server use together."""

import os
from collections.abc import Iterable
from pathlib import Path

TICKS_PER_S = os.sysconf("SC_CLK_TCK")


def processor_s_of(processes: Iterable[int]) -> float:
    """User and system time of all of them."""
    ticks = 0
    for pid in processes:
        fields = stat_of(pid)
        ticks += int(fields[11]) + int(fields[12]) if fields else 0
    return ticks / TICKS_PER_S


def resident_bytes_of(processes: Iterable[int]) -> int:
    """Resident memory; pages that several of them share count once."""
    pids = list(processes)
    key = "Rss:" if len(pids) == 1 else "Pss:"
    kib = 0
    for pid in pids:
        for line in _read(Path(f"/proc/{pid}/smaps_rollup")).splitlines():
            kib += int(line.split()[1]) if line.startswith(key) else 0
    return kib * 1024


def stat_of(pid: int) -> list[str]:
    """The fields of /proc/PID/stat from the state on; none of a process that has ended."""
    return _read(Path(f"/proc/{pid}/stat")).rpartition(")")[2].split()


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:  # it has just ended
        return ""
