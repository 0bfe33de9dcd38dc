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
    """Resident memory of processes of one kind, whatever else the machine runs.

    Anonymous pages that several of them share count once; of files, those of the process that has
    most of them. The kernel's proportional size would fall whenever others map the same libraries.
    """
    anonymous, files = 0, [0]
    for pid in processes:
        rows = (line.split() for line in _read(Path(f"/proc/{pid}/smaps_rollup")).splitlines()[1:])
        kib = {row[0]: int(row[1]) for row in rows}
        if kib:
            anonymous += kib["Pss_Anon:"]
            files.append(kib["Rss:"] - kib["Anonymous:"])
    return (anonymous + max(files)) * 1024


def stat_of(pid: int) -> list[str]:
    """The fields of /proc/PID/stat from the state on; none of a process that has ended."""
    return _read(Path(f"/proc/{pid}/stat")).rpartition(")")[2].split()


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:  # it has just ended
        return ""
