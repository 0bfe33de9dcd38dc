"""The parts of a bulk run, spread over a Ray cluster by Ray Data (extra `ray`).

Workers read the input and write their parts, so both lie where every machine reaches them. The
parts are those of a run on one machine, and so is the table, byte by byte.
"""

from __future__ import annotations

import logging
import os
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from service.bulk.chunks import Source
from service.bulk.command import BulkOptions, open_encoder, open_input
from service.bulk.encoder import BulkEncoder
from service.bulk.job import Job, Progress, run_parts
from service.errors import ServiceError
from service.settings import Settings


class PartWorker:
    """One actor: opens the model once, then does part after part."""

    def __init__(self, job: Job, options: BulkOptions, settings: Settings) -> None:
        self._job, self._options, self._settings = job, options, settings

    def __call__(self, batch: dict[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
        """Does the parts whose numbers are in `part`; answers `images` done, and an `error`."""
        watch = _Count()
        try:
            parts = batch["part"].tolist()
            source, encoder = self._opened
            run_parts(self._job, parts, source=source, encoder=encoder, progress=watch)
            error = ""
        except (ServiceError, OSError) as failure:  # as text, since Ray would add its stack trace
            error = failure.detail if isinstance(failure, ServiceError) else str(failure)
        return {"images": np.array([watch.images]), "error": np.array([error], object)}

    @cached_property
    def _opened(self) -> tuple[Source, BulkEncoder]:
        encoder = open_encoder(self._options, self._settings)
        return open_input(self._options, self._settings, encoder), encoder


class _Count:
    """Progress inside one actor."""

    images = 0

    def start(self, total: int, done: int) -> None:
        """Nothing to show."""

    def advance(self, images: int) -> None:
        """Counts."""
        self.images += images


def run_on_ray(job: Job, options: BulkOptions, settings: Settings, progress: Progress) -> None:
    """Does the missing parts on the cluster that RAY_ADDRESS names, or on a local one.

    Raises:
        ServiceError: Ray is not installed, or a worker failed.
    """
    # Ray's core would say on each run that its own actors cannot be restarted; failures are raised.
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    try:
        import ray
        import ray.data
    except ImportError:
        raise ServiceError("`--ray` needs Ray: `pip install 'rfvae[ray]'`") from None
    missing = job.missing()
    if not missing:
        return
    started_here = not ray.is_initialized()
    if started_here:
        ray.init(log_to_driver=False, logging_level=logging.ERROR, include_dashboard=False)
    try:
        for batch in _answers(job, options, settings, missing):
            if batch["error"][0]:
                raise ServiceError(str(batch["error"][0]))
            progress.advance(int(batch["images"][0]))
    finally:
        if started_here:
            ray.shutdown()


def _answers(job: Job, options: BulkOptions, settings: Settings, missing: list[int]) -> Any:
    """What the workers answer, part by part."""
    import ray.data

    _quiet(ray.data.DataContext.get_current())
    lanes = settings.lanes or 1  # not every core of the machine, which other actors share
    on_worker = settings.model_copy(
        update={"lanes": lanes, "model_repository": tuple(map(_whole, settings.model_repository))}
    )
    arguments = (
        replace(job, out=_whole(job.out)),
        replace(options, source=_whole(options.source)),
        on_worker,
    )
    # A block a part at once: to cut blocks later takes tasks, for which actors may leave no core.
    parts = ray.data.from_items(
        [{"part": part} for part in missing], override_num_blocks=len(missing)
    )
    done = parts.map_batches(
        PartWorker,
        fn_constructor_args=arguments,
        batch_size=1,
        compute=ray.data.ActorPoolStrategy(min_size=1, max_size=len(missing)),
        num_cpus=lanes,
        num_gpus=1 if settings.device in ("cuda", "tensorrt") else 0,
    )
    return done.iter_batches(batch_size=1)


def _whole(path: Any) -> Any:
    """Workers may run in another folder."""
    return path.absolute()


def _quiet(context: Any) -> None:
    """Only this command's own progress is shown."""
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)
