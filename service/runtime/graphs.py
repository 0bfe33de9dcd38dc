"""How one opened graph is run: as it is, or in a few fixed batch sizes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from service.runtime.graph_spec import GraphSpec

Samples = npt.NDArray[Any]  # uint8 images, or float32 rows
Outputs = tuple[npt.NDArray[np.float32], ...]
Run = Callable[[Samples], Outputs]  # (batch, ...) to outputs of as many rows; thread-safe


def plain_run(session: Any, spec: GraphSpec) -> Run:
    """A run that copies in and out as it needs; best on a CPU, where there is nothing to copy."""
    run, outputs, name = session.run, spec.output_names, spec.input.name
    return lambda rows: tuple(run(outputs, {name: rows}))


def run_in_sizes(run: Run, sizes: Sequence[int]) -> Run:
    """A run that sees batches of a few sizes only, since each new one costs a GPU a set-up.

    Smaller batches are padded with zeros, larger ones are cut.

    Args:
        sizes: rising.
    """
    known, largest = frozenset(sizes), sizes[-1]

    def run_any(rows: Samples) -> Outputs:
        if len(rows) in known:
            return run(rows)
        pieces = [rows[start : start + largest] for start in range(0, len(rows), largest)]
        runs = [run(_pad(piece, sizes)) for piece in pieces]
        return tuple(np.concatenate(parts)[: len(rows)] for parts in zip(*runs, strict=True))

    return run_any


def _pad(piece: Samples, sizes: Sequence[int]) -> Samples:
    size = next(size for size in sizes if size >= len(piece))
    padded = np.zeros((size, *piece.shape[1:]), piece.dtype)
    padded[: len(piece)] = piece
    return padded
