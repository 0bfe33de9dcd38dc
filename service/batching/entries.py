"""Requests waiting in the batcher, and the batches that are made of their rows."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from service.batching.observer import BatchStats
from service.errors import InferenceFailed, ServiceError

Array = npt.NDArray[Any]
Outputs = tuple[Array, ...]
Runner = Callable[[Array], Outputs]


class Result(NamedTuple):
    """One request's own rows of each output, and where its time went.

    A NamedTuple because a frozen dataclass costs three times as much to make, once a request.

    Args:
        outputs: each (n, ...), row for row as submitted; may be views of the batch.
        queue_s: until its first batch started.
        infer_s: from then until its last batch ended.
        batch_rows: rows of the largest batch that it was part of.
    """

    outputs: Outputs
    queue_s: float
    infer_s: float
    batch_rows: int


class Entry:
    """One request. `taken` rows went into batches, `missing` rows have no output yet."""

    __slots__ = (
        "batch_rows",
        "deadline",
        "enqueued",
        "future",
        "missing",
        "n_rows",
        "operation",
        "origin",
        "outputs",
        "row_bytes",
        "rows",
        "started",
        "taken",
    )

    def __init__(
        self,
        operation: str,
        rows: Array,
        *,
        future: asyncio.Future[Result],
        deadline: float | None,
        enqueued: float,
        origin: object = None,
    ) -> None:
        self.operation = operation
        self.origin = origin
        self.rows = rows
        self.n_rows = self.missing = len(rows)
        self.row_bytes = rows.nbytes // self.n_rows
        self.future = future
        self.deadline = deadline
        self.enqueued = enqueued
        self.started = float("inf")
        self.taken = 0
        self.batch_rows = 0
        self.outputs: Outputs = ()

    def collect(self, outputs: Outputs, start: int, batch: Batch) -> bool:
        """Keep the outputs of rows from `start` on; True once those of all rows are there."""
        self.started = min(self.started, batch.started)
        self.batch_rows = max(self.batch_rows, batch.n_rows)
        n_rows = len(outputs[0])
        if n_rows == self.n_rows:
            self.outputs = outputs
            return True
        if not self.outputs:
            self.outputs = tuple(
                np.empty((self.n_rows, *part.shape[1:]), part.dtype) for part in outputs
            )
        for whole, part in zip(self.outputs, outputs, strict=True):
            whole[start : start + n_rows] = part
        self.missing -= n_rows
        return self.missing == 0


class Part(NamedTuple):
    """Rows `start` to `stop` of one request, as they go into one batch."""

    entry: Entry
    start: int
    stop: int


class Batch:
    """Parts that run together; `outputs` or `error` is set once it ran."""

    __slots__ = (
        "ended",
        "error",
        "n_rows",
        "operation",
        "outputs",
        "padded_rows",
        "parts",
        "started",
    )

    def __init__(self, operation: str, parts: Sequence[Part]) -> None:
        self.operation = operation
        self.parts = parts
        self.n_rows = self.padded_rows = sum([stop - start for _, start, stop in parts])
        self.outputs: Outputs = ()
        self.error: Exception | None = None
        self.started = self.ended = 0.0

    def run(self, runner: Runner, clock: Callable[[], float]) -> None:
        """Run, in whichever thread; never raises, as nobody there could catch."""
        self.started = clock()
        try:
            if not all(part.entry.future.done() for part in self.parts):
                self.outputs = runner(self._assemble(self.padded_rows))
                _require_rows(self.outputs, self.padded_rows)
        except Exception as error:  # the lane's outermost edge: handed to each caller
            self.error = error
        self.ended = clock()

    def stats(self) -> BatchStats:
        return BatchStats(
            self.operation,
            self.n_rows,
            self.padded_rows,
            len(self.parts),
            self.ended - self.started,
            [entry.origin for entry, _, _ in self.parts],
        )

    def _assemble(self, size: int) -> Array:
        """The rows of all parts, padded with zeros to `size`; not copied if one part is all."""
        arrays = [entry.rows[start:stop] for entry, start, stop in self.parts]
        if len(arrays) == 1 and size == self.n_rows:
            return arrays[0]
        joined = np.empty((size, *arrays[0].shape[1:]), arrays[0].dtype)
        np.concatenate(arrays, out=joined[: self.n_rows])
        joined[self.n_rows :] = 0
        return joined


def for_the_caller(error: Exception) -> ServiceError:
    """What a caller is told of a runner's error: its text only if it was meant for people."""
    if isinstance(error, ServiceError):
        return error
    failed = InferenceFailed("the model could not be run on this input; the service's log says why")
    failed.__cause__ = error
    return failed


def _require_rows(outputs: Outputs, rows: int) -> None:
    lengths = [len(output) for output in outputs]
    if not outputs or any(length != rows for length in lengths):
        raise RuntimeError(f"a runner must return {rows} rows in each output; got {lengths}")
