"""What a person sees of an error that can be cured: one line on stderr, and the exit code."""

import errno
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

from rich.console import Console

from training.errors import TrainingError

OURS = {"training", "onnx_export", "service"}


@contextmanager
def one_line_errors(*explained: type[Exception], extras: str, less_memory: str) -> Iterator[None]:
    """End the program with one line where a person can cure what went wrong.

    Args:
        explained: Errors whose text says it all, beside `TrainingError`.
        extras: Of the package `rfvae`, that bring the modules the block needs.
        less_memory: What to do where memory runs out.
    """
    for_people: tuple[type[Exception], ...] = (TrainingError, *explained)
    try:
        yield
    except for_people as error:
        _fail(str(error), exit_code=getattr(error, "exit_code", TrainingError.exit_code))
    except ModuleNotFoundError as error:
        if _is_ours(error.name):
            raise
        _fail(f"`{error.name}` is not installed: pip install 'rfvae[{extras}]'")
    except OSError as error:
        place = f": `{error.filename}`" if error.filename else ""
        cure = "; make room on the disk" if error.errno == errno.ENOSPC else ""
        _fail(f"{error.strerror or error}{place}{cure}")
    except (MemoryError, RuntimeError) as error:
        shortage = _shortage(error)
        if shortage is None:
            raise
        _fail(f"{shortage}; {less_memory}")


def _is_ours(module: str | None) -> bool:
    """Whether a module belongs to this project, so that its absence is no one's installation."""
    return (module or "training").split(".")[0] in OURS


def _shortage(error: Exception) -> str | None:
    """What to say where memory ran out, in the processor's words or in the device's."""
    asked = re.search(r"allocate ([\d.]+) ?(bytes|[KMGT]iB)", str(error))
    if not (isinstance(error, MemoryError) or (asked and "memory" in str(error))):
        return None
    size = f": {_size(*asked.groups())} more were asked for" if asked else ""
    return f"there is not enough memory{size}"


def _size(number: str, unit: str) -> str:
    return f"{float(number) / 2**30:,.1f} GiB" if unit == "bytes" else f"{number} {unit}"


def _fail(message: str, *, exit_code: int = TrainingError.exit_code) -> NoReturn:
    Console(stderr=True).print(f"error: {message}", markup=False, highlight=False, soft_wrap=True)
    sys.exit(exit_code)
