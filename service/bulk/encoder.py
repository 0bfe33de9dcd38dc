"""Many images through one model, in fixed batches, so that the same input gives the same bits."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from service.bulk.sources import Chunk
from service.bulk.tables import Rows, number_columns
from service.codecs.spec import Pixels
from service.dataplane import place
from service.models.served import ServedModel

# Batches of one size only: a sum over another batch size may round otherwise.
BATCH_ROWS: Final = 64
CHUNKS_AHEAD: Final = 1
Numbers = npt.NDArray[np.float32]


@dataclass(frozen=True)
class BulkEncoder:
    """Encodes chunks with one model; `close` it in the end."""

    model: ServedModel
    lanes: ThreadPoolExecutor

    @classmethod
    def of(cls, model: ServedModel) -> BulkEncoder:
        """With a thread for each of the engine's lanes."""
        return cls(model, ThreadPoolExecutor(model.engine.plan.lanes, "rfvae-bulk"))

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
            starts = range(0, len(chunk.ids), BATCH_ROWS)
            batches = (chunk.images[start : start + BATCH_ROWS] for start in starts)
            running = [self.lanes.submit(self._numbers, batch) for batch in batches]
            under_way.append((chunk, running))
            if len(under_way) > CHUNKS_AHEAD:
                yield _rows(*under_way.popleft())
        while under_way:
            yield _rows(*under_way.popleft())

    def close(self) -> None:
        """Lets go of threads and sessions."""
        self.lanes.shutdown(cancel_futures=True)
        self.model.engine.close()

    def _numbers(self, images: Pixels) -> Numbers:
        """float32 (batch, columns): value, sigma and percentile of each factor, then novelty."""
        mu, logvar = self.model.engine.encode(images)
        decoded = self.model.engine.decode(mu)
        found = place(self.model, images, decoded, mu, logvar)
        factors = np.stack([found.mu, found.sigma, found.percentile], axis=2)
        factors = factors.reshape(len(images), 3 * len(found.dims))  # (batch, 3 * n_relevant)
        return np.hstack([factors, found.novelty[:, None]]).astype(np.float32)


def _rows(chunk: Chunk, running: list[Future[Numbers]]) -> Rows:
    numbers = np.concatenate([batch.result() for batch in running])  # (n, columns)
    numbers[chunk.damaged] = np.nan
    return Rows(chunk.ids, numbers)
