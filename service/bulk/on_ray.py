"""The parts of a bulk run, spread over a Ray cluster by Ray Data (extra `ray`).

Workers read the input and write their parts, so both lie where every machine reaches them. The
parts are those of a run on one machine, and so is the table, byte by byte.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from service.bulk.command import BulkOptions, open_encoder, open_images
from service.bulk.job import Job, Progress
from service.bulk.tables import write_part
from service.errors import ServiceError
from service.settings import Settings


class PartWorker:
    """One actor: opens the model once, then does part after part."""

    def __init__(self, job: Job, options: BulkOptions, settings: Settings) -> None:
        self._job = job
        self._encoder = open_encoder(options, settings)
        self._source = open_images(options, settings, self._encoder)

    def __call__(self, batch: dict[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
        """Does the parts whose numbers are in `part`; answers how many images they held."""
        return {"images": np.array([self._do(int(part)) for part in batch["part"]])}

    def _do(self, part: int) -> int:
        chunk = self._source.read(*self._job.bounds(part))
        rows = self._encoder.encode(chunk, lambda _: None)
        write_part(self._job.parts[part], rows, self._encoder.columns)
        return len(chunk.ids)


def run_on_ray(job: Job, options: BulkOptions, settings: Settings, progress: Progress) -> None:
    """Does the missing parts on the cluster that RAY_ADDRESS names, or on a local one.

    Raises:
        ServiceError: Ray is not installed.
    """
    try:
        import ray
        import ray.data
    except ImportError:
        raise ServiceError("`--ray` needs Ray: `pip install 'rfvae[ray]'`") from None
    missing = job.missing()
    if not missing:
        return
    ray.init(ignore_reinit_error=True, log_to_driver=False)
    parts = ray.data.from_items([{"part": part} for part in missing])
    done = parts.repartition(len(missing)).map_batches(
        PartWorker,
        fn_constructor_args=(job, options, settings),
        batch_size=1,
        compute=ray.data.ActorPoolStrategy(min_size=1, max_size=len(missing)),
        num_cpus=settings.lanes or 1,
        num_gpus=1 if settings.device in ("cuda", "tensorrt") else 0,
    )
    for batch in done.iter_batches(batch_size=1):
        progress.advance(int(batch["images"].sum()))
