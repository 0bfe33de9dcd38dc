"""A setting of the C library that makes training on a CPU about a third faster."""

import ctypes
import platform
import sys

M_TRIM_THRESHOLD = -1
M_MMAP_THRESHOLD = -3
GIB = 1 << 30
LARGEST_IN_OLD_GLIBC = 32 << 20


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
