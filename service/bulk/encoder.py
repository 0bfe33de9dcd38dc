"""Many samples through one model, in fixed batches, so that the same input gives the same bits."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from service.bulk.chunks import Chunk
from service.bulk.tables import Rows, number_columns
from service.dataplane import bounded, place
from service.errors import InvalidValue
from service.models.artifact import Manifest
from service.models.served import ServedModel

# Batches of one size only: a sum over another batch size may round otherwise. Rows of numbers are
# so quick that small batches would spend their time on the change of threads.
IMAGES_A_BATCH: Final = 64
ROWS_A_BATCH: Final = 1024
CHUNKS_AHEAD: Final = 1
Numbers = npt.NDArray[np.float32]


def batch_rows_of(manifest: Manifest) -> int:
    """Samples in a batch of this model."""
    return IMAGES_A_BATCH if manifest.vector is None else ROWS_A_BATCH


@dataclass(frozen=True)
class BulkEncoder:
    """Encodes chunks with one model; `close` it in the end.

    Args:
        skip_damaged: a row that makes the model's numbers overflow gets no numbers; else it is an
            error.
    """

    model: ServedModel
    lanes: ThreadPoolExecutor
    skip_damaged: bool = False

    @classmethod
    def of(cls, model: ServedModel, *, skip_damaged: bool = False) -> BulkEncoder:
        """With a thread for each of the engine's lanes."""
        lanes = ThreadPoolExecutor(model.engine.plan.lanes, "rfvae-bulk")
        return cls(model, lanes, skip_damaged)

    @property
    def batch_rows(self) -> int:
        """Samples in each batch but the last of a piece."""
        return batch_rows_of(self.model.manifest)

    @property
    def columns(self) -> list[str]:
        """The names of the numbers."""
        space = self.model.space
        dims = space.relevant_dims.tolist()
        return number_columns([space.names[dim] for dim in dims], dims)

    def encode(self, chunks: Iterable[Chunk]) -> Iterator[Rows]:
        """The rows of the table, chunk by chunk; the next chunk is under way, so no lane waits."""
        under_way: deque[tuple[Chunk, list[Future[Numbers]]]] = deque()
        for chunk in chunks:
            starts = range(0, len(chunk.ids), self.batch_rows)
            batches = (chunk.images[start : start + self.batch_rows] for start in starts)
            running = [self.lanes.submit(self._numbers, batch) for batch in batches]
            under_way.append((chunk, running))
            if len(under_way) > CHUNKS_AHEAD:
                yield self._rows(*under_way.popleft())
        while under_way:
            yield self._rows(*under_way.popleft())

    def close(self) -> None:
        """Lets go of threads and sessions."""
        self.lanes.shutdown(cancel_futures=True)
        self.model.engine.close()

    def _numbers(self, images: npt.NDArray[Any]) -> Numbers:
        """float32 (batch, columns): value, sigma and percentile of each factor, then novelty.

        NaN where the model's own numbers overflow.
        """
        mu, logvar = self.model.engine.encode(images)
        sound = bounded(mu, logvar)
        mu[~sound], logvar[~sound] = 0, 0
        decoded = self.model.engine.decode(mu)
        found = place(self.model, images, decoded, mu, logvar)
        factors = np.stack([found.mu, found.sigma, found.percentile], axis=2)
        factors = factors.reshape(len(images), 3 * len(found.dims))  # (batch, 3 * n_relevant)
        numbers = np.hstack([factors, found.novelty[:, None]]).astype(np.float32)
        numbers[~sound] = np.nan
        return numbers

    def _rows(self, chunk: Chunk, running: list[Future[Numbers]]) -> Rows:
        numbers = np.concatenate([batch.result() for batch in running])  # (n, columns)
        overflown = np.isnan(numbers[:, -1]) & ~chunk.damaged
        if overflown.any() and not self.skip_damaged:
            raise InvalidValue(
                f"row `{chunk.ids[int(np.argmax(overflown))]}` must lie nearer to the training "
                "data: the model's numbers for it overflow; check its columns and their units, or "
                "pass --skip-damaged"
            )
        numbers[chunk.damaged] = np.nan
        return Rows(chunk.ids, numbers)
