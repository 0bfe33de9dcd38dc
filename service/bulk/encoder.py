"""Many images through one model, in fixed batches, so that the same input gives the same bits."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
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

    def encode(self, chunk: Chunk, advance: Callable[[int], None]) -> Rows:
        """The rows of the table; `advance` is told how many images are done, batch by batch."""
        starts = range(0, len(chunk.ids), BATCH_ROWS)
        batches = (chunk.images[start : start + BATCH_ROWS] for start in starts)
        done = []
        for numbers in self.lanes.map(self._numbers, batches):
            done.append(numbers)
            advance(len(numbers))
        numbers = np.concatenate(done)  # (n, columns)
        numbers[chunk.damaged] = np.nan
        return Rows(chunk.ids, numbers)

    def close(self) -> None:
        """Lets go of threads and sessions."""
        self.lanes.shutdown(cancel_futures=True)
        self.model.engine.close()

    def _numbers(self, images: Pixels) -> npt.NDArray[np.float32]:
        """float32 (batch, columns): value, sigma and percentile of each factor, then novelty."""
        mu, logvar = self.model.engine.encode(images)
        decoded = self.model.engine.decode(mu)
        found = place(self.model, images, decoded, mu, logvar)
        factors = np.stack([found.mu, found.sigma, found.percentile], axis=2)
        factors = factors.reshape(len(images), 3 * len(found.dims))  # (batch, 3 * n_relevant)
        return np.hstack([factors, found.novelty[:, None]]).astype(np.float32)
