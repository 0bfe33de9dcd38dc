"""Loads shared libraries that came as wheels, and lets other threads run meanwhile.

`ctypes.CDLL` holds the GIL while a library loads, for seconds in the case of CUDA's, and no probe
would be answered. A C function that is called through ctypes runs without it, and `dlopen` is one.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path

# Those that ONNX Runtime's `preload_dlls` loads, in the order of their needs.
CUDA_LIBRARIES = (
    "libcublasLt",
    "libcublas",
    "libnvrtc",
    "libcurand",
    "libcufft",
    "libcudart",
    "libcudnn",
)
CUDA_WHEELS = ("nvidia", "*/lib")


def load_libraries(package: str, folder: str, names: Sequence[str]) -> list[str]:
    """Load each library of an installed package, or none where it is not installed.

    Args:
        folder: pattern below the package, such as `*/lib`.
        names: without `.so.VERSION`.

    Returns:
        The files that were loaded; one that cannot be is left out, and what needs it will say so.
    """
    return [path.name for path in _find(package, folder, names) if _load(path)]


def _find(package: str, folder: str, names: Sequence[str]) -> Iterator[Path]:
    found = find_spec(package)
    places = found.submodule_search_locations if found else None
    for name in names:
        for place in places or ():
            yield from sorted(Path(place).glob(f"{folder}/{name}.so.*"))


def _load(path: Path) -> bool:
    dlopen = ctypes.CDLL(None).dlopen
    dlopen.argtypes, dlopen.restype = (ctypes.c_char_p, ctypes.c_int), ctypes.c_void_p
    return dlopen(os.fsencode(path), os.RTLD_NOW) is not None
