"""Measures a model on this machine without HTTP: the bare engine beside the batcher in front of it.

Rounds of the two alternate, so that a change of the clock meets both alike; figures are medians.
"""

import asyncio
import math
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import orjson
import uvloop

from service.batching.policy import BatchPolicy
from service.loading import engine_options, find_version, load_options
from service.models.artifact import Golden, load_golden
from service.models.served import LoadOptions, ServedModel, load_model
from service.runtime.threads import cpu_budget
from service.settings import Settings

Array = npt.NDArray[Any]

REQUEST_ROWS: Final = (1, 8, 32, 64)
ROUNDS: Final = 3
BATCHES_A_LANE: Final = 2  # one runs while one is prepared
MUCH: Final = 2**40
HEAD: Final = (
    f"{'operation':9} {'lanes':>5} {'threads':>7} {'request rows':>12} {'clients':>7} "
    f"{'engine rows/s':>13} {'batcher rows/s':>14} {'ratio':>5}"
)


@dataclass(frozen=True, slots=True)
class Figure:
    """Rows a second of one operation, asked for in requests of `request_rows` rows.

    Args:
        engine_rows_s: each lane runs one such request after the other; no queue.
        batcher_rows_s: `clients` send such requests to the batcher, which joins and splits them.
    """

    operation: str
    lanes: int
    threads: int
    request_rows: int
    clients: int
    engine_rows_s: float
    batcher_rows_s: float

    @property
    def line(self) -> str:
        """One line of the table; the ratio is above 1 where joining pays."""
        return (
            f"{self.operation:9} {self.lanes:5} {self.threads:7} {self.request_rows:12} "
            f"{self.clients:7} {self.engine_rows_s:13.0f} {self.batcher_rows_s:14.0f} "
            f"{self.batcher_rows_s / self.engine_rows_s:5.2f}"
        )


@dataclass(frozen=True, slots=True)
class Work:
    """One request of (rows, ...), and how many clients send it again and again."""

    model: ServedModel
    operation: str
    request: Array
    clients: int


def bench_lines(
    settings: Settings,
    name: str | None,
    version: int | None,
    *,
    lanes: Sequence[int],
    seconds: float,
) -> Iterator[str]:
    """A table, line by line as it is measured, and then one line of JSON.

    Args:
        lanes: settings to compare; 0 is what the service would choose.
        seconds: of one round of the engine or the batcher.

    Raises:
        ServiceError: there is no such model, or it cannot be served.
    """
    chosen = find_version(settings, name or settings.default_model, version)
    figures: list[Figure] = []
    provider = ""
    for count in dict.fromkeys(lanes):
        model = load_model(chosen, _options(settings, count))
        if not figures:
            provider = model.engine.providers[0]
            cores = f"{cpu_budget().cores} cores"
            yield f"`{model.name}` version {model.version} on {provider}, {cores}"
            yield HEAD
        for figure in measure(
            model, load_golden(chosen.folder), settings.max_batch_rows, seconds=seconds
        ):
            figures.append(figure)
            yield figure.line
    listed = [asdict(figure) for figure in figures]
    about = {"model": chosen.name, "version": chosen.version, "provider": provider}
    yield orjson.dumps({**about, "cores": cpu_budget().cores, "figures": listed}).decode()


def measure(
    model: ServedModel, samples: Golden, batch_rows: int, *, seconds: float
) -> Iterator[Figure]:
    """Both operations in requests of each size; the model is drained at the end.

    Args:
        batch_rows: rows of a full batch; as many clients ask as keep every lane full.
    """
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        for operation, rows in (("encode", samples.image), ("decode", samples.z)):
            for request_rows in REQUEST_ROWS:
                request = np.resize(rows, (request_rows, *rows.shape[1:]))
                full = math.ceil(batch_rows / request_rows)
                clients = model.engine.plan.lanes * BATCHES_A_LANE * full
                work = Work(model, operation, request, clients)
                yield _compare(runner, work, seconds=seconds)
        runner.run(model.drain())


def _options(settings: Settings, lanes: int) -> LoadOptions:
    policy = BatchPolicy(  # a full queue would only be in the way
        max_batch_rows=settings.max_batch_rows,
        max_queue_rows=MUCH,
        max_queue_bytes=MUCH,
        max_wait_ms=settings.batch_wait_ms,
    )
    engine = replace(engine_options(settings), lanes=lanes)
    return load_options(settings, engine=engine, batching=policy)


def _compare(runner: asyncio.Runner, work: Work, *, seconds: float) -> Figure:
    pairs = [
        (_engine_rate(work, seconds), runner.run(_batcher_rate(work, seconds)))
        for _ in range(ROUNDS)
    ]
    engine, batcher = (round(statistics.median(column), 1) for column in zip(*pairs, strict=True))
    plan, rows = work.model.engine.plan, len(work.request)
    return Figure(work.operation, plan.lanes, plan.threads, rows, work.clients, engine, batcher)


def _engine_rate(work: Work, seconds: float) -> float:
    lanes = work.model.engine.plan.lanes
    run: Callable[[Array], Any] = getattr(work.model.engine, work.operation)

    def loop() -> int:
        done = 0
        while not done or time.perf_counter() < end:  # one at least, however late it begins
            run(work.request)
            done += len(work.request)
        return done

    with ThreadPoolExecutor(lanes) as pool:
        start = time.perf_counter()
        end = start + seconds
        rows = sum(future.result() for future in [pool.submit(loop) for _ in range(lanes)])
        return rows / (time.perf_counter() - start)


async def _batcher_rate(work: Work, seconds: float) -> float:
    async def client() -> int:
        done = 0
        while not done or time.perf_counter() < end:
            await work.model.batcher.submit(work.operation, work.request)
            done += len(work.request)
        return done

    start = time.perf_counter()
    end = start + seconds
    rows = sum(await asyncio.gather(*(client() for _ in range(work.clients))))
    return rows / (time.perf_counter() - start)
