"""How one opened graph is run: as it is, in small pieces, or in a few fixed batch sizes."""

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


def run_in_pieces(run: Run, most: int) -> Run:
    """A run that never sees more than `most` rows at once; larger batches are cut."""

    def run_any(rows: Samples) -> Outputs:
        if len(rows) <= most:
            return run(rows)
        runs = [run(rows[start : start + most]) for start in range(0, len(rows), most)]
        return tuple(np.concatenate(parts) for parts in zip(*runs, strict=True))

    return run_any


def run_in_sizes(run: Run, sizes: Sequence[int]) -> Run:
    """A run that sees batches of a few sizes only, since each new one costs a GPU a set-up.

    Smaller batches are padded with zeros, larger ones are cut.

    Args:
        sizes: rising.
    """
    known = frozenset(sizes)

    def run_padded(rows: Samples) -> Outputs:
        if len(rows) in known:
            return run(rows)
        return tuple(output[: len(rows)] for output in run(_pad(rows, sizes)))

    return run_in_pieces(run_padded, sizes[-1])


def _pad(piece: Samples, sizes: Sequence[int]) -> Samples:
    size = next(size for size in sizes if size >= len(piece))
    padded = np.zeros((size, *piece.shape[1:]), piece.dtype)
    padded[: len(piece)] = piece
    return padded
