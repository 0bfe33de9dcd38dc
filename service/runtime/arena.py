"""One pool of memory for all CPU sessions of a process.

By default each session keeps the memory of its largest batch: 12 MiB a graph with the bundled
models, whether or not anybody asks for that model. Of one pool they use the same memory in turns.
"""

from functools import cache
from threading import Lock
from typing import Final

import onnxruntime as ort

USE_SHARED: Final = "session.use_env_allocators"  # onnxruntime_session_options_config_keys.h
_DEFAULT: Final = -1
_registering: Final = Lock()


def share_arena(options: ort.SessionOptions) -> None:
    """Has a session that is opened with `options` take its memory from the process's pool."""
    with _registering:
        _register()
    options.add_session_config_entry(USE_SHARED, "1")


@cache
def _register() -> None:
    """Once a process: ONNX Runtime refuses a second pool for the same kind of memory."""
    memory = ort.OrtMemoryInfo(
        "Cpu", ort.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, ort.OrtMemType.DEFAULT
    )
    ort.create_and_register_allocator(memory, ort.OrtArenaCfg(0, _DEFAULT, _DEFAULT, _DEFAULT))
