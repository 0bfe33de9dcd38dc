"""Settings of the C and OpenMP libraries that make training on a CPU faster."""

import ctypes
import os
import platform
import sys

M_TRIM_THRESHOLD = -1
M_MMAP_THRESHOLD = -3
GIB = 1 << 30
LARGEST_IN_OLD_GLIBC = 32 << 20
SPINS = "10000"  # some tens of microseconds: longer than the gap between two operations of a step


def keep_freed_memory() -> bool:
    """Tell glibc to keep freed blocks instead of returning them to the system at every step.

    The tensors of a step are a few MiB each: by default each one is a fresh mapping, whose pages
    the system must clear again.

    Returns:
        Whether the setting was made; False on other systems and C libraries.
    """
    if sys.platform != "linux" or platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    mapped = mallopt(M_MMAP_THRESHOLD, GIB) or mallopt(M_MMAP_THRESHOLD, LARGEST_IN_OLD_GLIBC)
    return bool(mapped and mallopt(M_TRIM_THRESHOLD, GIB))


def wait_politely() -> None:
    """Let waiting threads sleep soon, unless the environment says how long they should spin.

    By default they spin for milliseconds. When other programs use the cores too, each parallel
    operation then waits for a thread that is kept from its core by a spinning one: steps take
    several times as long. Must be called before torch is imported.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", SPINS)
