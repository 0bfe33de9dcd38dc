"""`rfvae-serve encode`: from options to a finished table, with progress on standard error."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as RichProgress

from service.bulk.chunks import Source
from service.bulk.encoder import BulkEncoder
from service.bulk.job import Job, Progress, finish, held, plan, run_parts
from service.bulk.row_sources import RowReading, open_rows
from service.bulk.sources import Reading, open_source
from service.errors import InvalidValue, ServiceError
from service.loading import find_version, load_options
from service.models.served import load_model
from service.settings import Settings

LINE_EVERY_S = 10.0
WITH_IDS = (".csv", ".parquet", ".pq")


@dataclass(frozen=True)
class BulkOptions:
    """What is to be encoded, by which model, and where the table goes."""

    source: Path
    out: Path
    model: str | None = None
    version: int | None = None
    image_column: str = "image"
    id_column: str | None = None
    skip_damaged: bool = False
    overwrite: bool = False


def encode_all(options: BulkOptions, settings: Settings, *, on_ray: bool = False) -> str:
    """Runs it to its end; returns what to tell the user.

    Raises:
        ServiceError: one line for a person.
    """
    try:
        with held(options.out):
            return _encode(options, settings, on_ray=on_ray)
    except OSError as error:
        raise ServiceError(
            f"`{error.filename or options.out}` cannot be read or written: {error.strerror}; "
            "finished parts are kept, and the same command goes on from them"
        ) from None


def _encode(options: BulkOptions, settings: Settings, *, on_ray: bool) -> str:
    encoder = open_encoder(options, settings)
    try:
        source = open_input(options, settings, encoder)
        job = plan(options.out, source, encoder, overwrite=options.overwrite)
        started = time.monotonic()
        to_do = job.total - job.done_images()
        with _shown_progress(_unit(encoder)) as progress:
            progress.start(job.total, job.total - to_do)
            if on_ray:
                from service.bulk.on_ray import run_on_ray

                run_on_ray(job, options, settings, progress)
            else:
                run_parts(job, job.missing(), source=source, encoder=encoder, progress=progress)
        seconds = time.monotonic() - started
        finish(job, encoder.columns)
    finally:
        encoder.close()
    return _summary(job, to_do, seconds, encoder)


def open_encoder(options: BulkOptions, settings: Settings) -> BulkEncoder:
    """The model that the options choose, verified, self-tested and warm."""
    found = find_version(settings, options.model, options.version)
    model = load_model(found, load_options(settings))
    return BulkEncoder.of(model, skip_damaged=options.skip_damaged)


def open_input(options: BulkOptions, settings: Settings, encoder: BulkEncoder) -> Source:
    """The input, as this model takes images or rows.

    Raises:
        ServiceError: it is not what the model takes, or cannot be read.
    """
    if options.id_column is not None and options.source.suffix not in WITH_IDS:
        raise InvalidValue(
            f"`--id-column` names a column of a .csv or .parquet file; got `{options.source.name}`"
        )
    manifest = encoder.model.manifest
    if manifest.vector is not None:
        columns = tuple(manifest.vector.columns)
        return open_rows(
            options.source, RowReading(columns, options.skip_damaged, options.id_column)
        )
    reading = Reading(
        spec=manifest.require_image(),
        max_pixels=settings.max_pixels,
        skip_damaged=options.skip_damaged,
        image_column=options.image_column,
        id_column=options.id_column,
    )
    return open_source(options.source, reading)


def _summary(job: Job, to_do: int, seconds: float, encoder: BulkEncoder) -> str:
    taken_up = job.total - to_do
    before = f", {taken_up} of them by an earlier run" if taken_up else ""
    model, unit = encoder.model, _unit(encoder)
    return (
        f"{job.out}: {job.total} {unit}{before}, {len(encoder.columns) + 1} columns, by "
        f"`{model.name}` version {model.version}, {to_do / max(seconds, 1e-9):.0f} {unit}/s"
    )


def _unit(encoder: BulkEncoder) -> str:
    return "images" if encoder.model.manifest.vector is None else "rows"


@contextmanager
def _shown_progress(unit: str) -> Iterator[Progress]:
    """A bar on a terminal; elsewhere a line every ten seconds."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield LineProgress(_say, unit)
        return
    columns = (
        TextColumn("encoding"),
        BarColumn(),
        TaskProgressColumn(),
        MofNCompleteColumn(),
        TextColumn(f"{{task.speed:.0f}} {unit}/s"),
        TimeRemainingColumn(),
    )
    with RichProgress(*columns, console=console) as bar:
        yield BarProgress(bar)


class BarProgress:
    """Progress as a bar."""

    def __init__(self, bar: RichProgress) -> None:
        self._bar = bar

    def start(self, total: int, done: int) -> None:
        """Shows the bar."""
        self._task = self._bar.add_task("encoding", total=total, completed=done)

    def advance(self, images: int) -> None:
        """Moves it."""
        self._bar.advance(self._task, images)


class LineProgress:
    """Progress as lines, for logs."""

    def __init__(
        self,
        say: Callable[[str], None],
        unit: str = "images",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._say, self._unit, self._clock = say, unit, clock

    def start(self, total: int, done: int) -> None:
        """Says so when an earlier run is taken up."""
        self._total, self._done, self._before = total, done, done
        self._started = self._said = self._clock()
        if done:
            self._say(f"going on: {done} of {total} {self._unit} are done")

    def advance(self, images: int) -> None:
        """Says how far it is, every ten seconds."""
        self._done += images
        now = self._clock()
        if now - self._said < LINE_EVERY_S:
            return
        self._said = now
        rate = (self._done - self._before) / (now - self._started)
        left_s = (self._total - self._done) / rate
        self._say(
            f"{self._done} of {self._total} {self._unit}, {rate:.0f} {self._unit}/s, "
            f"{left_s:.0f} s left"
        )


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()
