"""What the service does with a model; knows no HTTP, so that API, CLI and others can share it."""

import math
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from service.elbo import Likelihood, elbo
from service.errors import InvalidValue, TooManyRows
from service.latent import (
    LARGEST_LATENT,
    DimChoice,
    Dims,
    Floats,
    in_range,
    interpolate,
    kl_per_dim,
    novelty_percentile,
    percentile_of,
    select_dims,
    swap,
    traversal_grid,
    traversal_values,
)
from service.models.artifact import Manifest
from service.models.served import ServedModel
from service.offload import Offload

Images = npt.NDArray[Any]  # uint8 images, or float32 rows of numbers
Doubles = npt.NDArray[np.float64]
LARGE_PIXELS = 64 * 64 * 4  # the bound of so many takes about as long as a change of thread
LARGEST_LOGVAR = 80.0  # exp of more overflows float32


class Work(Protocol):
    """One caller's job: how long it may take, where its time went, the largest batch it was in.

    `origin` goes with it to whoever observes the batches.
    """

    deadline_s: float | None
    rows: int
    queue_s: float
    infer_s: float
    batch_rows: int
    origin: object


@dataclass(frozen=True, slots=True)
class Limits:
    """The most that one caller may ask for."""

    max_rows: int
    max_steps: int
    max_bytes: int  # of the samples of one request, as a model takes or gives them


@dataclass(frozen=True, slots=True)
class Range:
    """How a traversal walks: `low` and `high` None stand for each dimension's own quantiles."""

    steps: int
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True)
class Factors:
    """What images say: (batch, n_relevant) but for `all_mu` (batch, latent_dim) and the last two.

    `elbo` (batch,) in nats, `novelty` (batch,) in percent.
    """

    dims: Dims
    all_mu: Floats
    mu: Floats
    sigma: Floats
    percentile: Doubles
    in_range: npt.NDArray[np.bool_]
    kl: Floats
    elbo: Doubles
    novelty: Doubles


@dataclass(frozen=True, slots=True)
class GridRow:
    """What one row of a grid shows; `dim` None where no single dimension varies."""

    name: str
    dim: int | None = None
    values: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Grid:
    """Frames in [0, 1], float32 (rows, steps, channels, height, width), and what they show.

    Frames of a model of rows are (rows, steps, n_columns), in the data's own units.
    """

    frames: Floats
    rows: tuple[GridRow, ...]
    columns: tuple[str, ...]


class DataPlane:
    """Checks rows and steps, plans what to run, and runs it through the model's batcher."""

    def __init__(self, limits: Limits, offload: Offload) -> None:
        self._limits = limits
        self._offload = offload

    async def encode(self, model: ServedModel, images: Images, work: Work) -> tuple[Floats, Floats]:
        """uint8 (n, channels, height, width) to mu and logvar, float32 (n, latent_dim) each.

        A model of rows takes float32 (n, n_columns).

        Raises:
            InvalidValue: a row lies so far from the training data that the numbers overflow.
        """
        self._check_rows(len(images))
        mu, logvar = await _run(model, "encode", images, work)
        if model.manifest.vector is not None:
            _require_bounded(mu, logvar)
        return mu, logvar

    async def decode(self, model: ServedModel, z: Floats, work: Work) -> Floats:
        """float32 (n, latent_dim) to images in [0, 1] or rows in the data's own units, float32.

        Raises:
            TooManyRows: also where few rows would become more bytes than a request may have.
        """
        self._check_rows(len(z))
        self._check_bytes(len(z), model)
        (decoded,) = await _run(model, "decode", z, work)
        decoded_images: Floats = decoded
        return decoded_images

    async def factors(self, model: ServedModel, images: Images, work: Work) -> Factors:
        """The relevant factors of each image, and how unusual the image is."""
        mu, logvar = await self.encode(model, images, work)
        decoded = await self.decode(model, mu, work)
        large = decoded.size > LARGE_PIXELS
        return await self._offload.run(large, place, model, images, decoded, mu, logvar)

    async def traverse(
        self, model: ServedModel, base: Floats, dims: DimChoice, walk: Range, work: Work
    ) -> Grid:
        """Row i varies the i-th of `dims` from low to high; the rest stays at `base`."""
        self._check_steps(walk.steps)
        space = model.space
        chosen = select_dims(space, dims)
        if len(chosen) == 0:
            raise InvalidValue("`dims` must hold at least one dimension; this model has none")
        low = space.low[chosen] if walk.low is None else walk.low
        high = space.high[chosen] if walk.high is None else walk.high
        self._check_rows(len(chosen) * walk.steps)
        values = traversal_values(chosen, low=low, high=high, steps=walk.steps)
        latents = traversal_grid(base, chosen, values)
        rows = tuple(
            GridRow(space.names[dim], int(dim), tuple(map(float, row)))
            for dim, row in zip(chosen, values, strict=True)
        )
        return await self._grid(model, latents, rows, _numbers(walk.steps), work)

    async def reconstruct(self, model: ServedModel, images: Images, work: Work) -> Grid:
        """One row an image: the image as the model got it, and what it makes of it."""
        mu, _ = await self.encode(model, images, work)
        decoded = await self.decode(model, mu, work)
        originals = images if model.manifest.image is None else images / np.float32(255)
        frames = np.stack([originals, decoded], axis=1)  # (batch, 2, channels, height, width)
        kind = "row" if model.manifest.image is None else "image"
        rows = tuple(GridRow(f"{kind} {number}") for number in range(len(images)))
        return Grid(frames, rows, ("original", "reconstruction"))

    async def interpolate(self, model: ServedModel, images: Images, steps: int, work: Work) -> Grid:
        """One row: a straight walk between the means of two images, both ends included."""
        self._check_steps(steps)
        self._check_rows(steps)
        first, second = await self._two_means(model, images, work)
        latents = interpolate(first, second, steps=steps)[None]  # (1, steps, latent_dim)
        rows = (GridRow("interpolation"),)
        return await self._grid(model, latents, rows, _numbers(steps), work)

    async def swap(self, model: ServedModel, images: Images, dims: DimChoice, work: Work) -> Grid:
        """One row: both images as the model sees them, then the first with `dims` of the second."""
        chosen = select_dims(model.space, dims)
        first, second = await self._two_means(model, images, work)
        latents = np.stack([first, second, swap(first, second, dims=chosen)])[None]
        taken = ", ".join(model.space.names[dim] for dim in chosen)
        rows = (GridRow(f"{taken} from the second"),)
        return await self._grid(model, latents, rows, ("first", "second", "swapped"), work)

    async def _two_means(
        self, model: ServedModel, images: Images, work: Work
    ) -> tuple[Floats, Floats]:
        if len(images) != 2:
            raise InvalidValue(
                f"this route takes two images; got {len(images)}; send them as two multipart parts "
                "`images`, as two texts in JSON, or as an npy of two rows"
                if model.manifest.vector is None
                else f"this route takes two rows; got {len(images)}; send them as JSON "
                '`{"rows": [[…], […]]}` or as an npy of two rows'
            )
        mu, _ = await self.encode(model, images, work)
        return mu[0], mu[1]

    async def _grid(
        self,
        model: ServedModel,
        latents: Floats,
        rows: tuple[GridRow, ...],
        columns: tuple[str, ...],
        work: Work,
    ) -> Grid:
        decoded = await self.decode(model, latents.reshape(-1, latents.shape[-1]), work)
        return Grid(decoded.reshape(*latents.shape[:2], *decoded.shape[1:]), rows, columns)

    def _check_rows(self, rows: int) -> None:
        if rows > self._limits.max_rows:
            raise TooManyRows(
                f"a request must not have over {self._limits.max_rows} rows (images, latents or "
                f"frames); got {rows}; send several requests, or raise RFVAE_MAX_ROWS"
            )

    def _check_bytes(self, rows: int, model: ServedModel) -> None:
        n_bytes = rows * math.prod(model.manifest.sample.shape) * np.dtype(np.float32).itemsize
        if n_bytes > self._limits.max_bytes:
            raise TooManyRows.of_bytes(n_bytes, self._limits.max_bytes)

    def _check_steps(self, steps: int) -> None:
        if not 2 <= steps <= self._limits.max_steps:
            raise InvalidValue(
                f"`steps` must be 2 to {self._limits.max_steps}; got {steps}; one frame alone is "
                "POST /decode, and RFVAE_MAX_STEPS sets the most"
            )


def place(
    model: ServedModel, images: Images, decoded: Floats, mu: Floats, logvar: Floats
) -> Factors:
    """Where each image lies among the training images."""
    space = model.space
    bound = elbo(images, decoded, mu=mu, logvar=logvar, likelihood=likelihood_of(model.manifest))
    dims = space.relevant_dims
    chosen, quantiles = mu[:, dims], space.mu_quantiles[dims]  # (batch, n_relevant)
    places = [percentile_of(chosen[:, i], quantiles[i]) for i in range(len(dims))]
    return Factors(
        dims=dims,
        all_mu=mu,
        mu=chosen,
        sigma=np.exp(logvar[:, dims] / 2),
        percentile=np.stack(places, axis=1) if places else np.empty(chosen.shape),
        in_range=in_range(chosen, quantiles),
        kl=kl_per_dim(chosen, logvar[:, dims]),
        elbo=bound,
        novelty=novelty_percentile(bound, space.elbo_quantiles),
    )


def likelihood_of(manifest: Manifest) -> Likelihood:
    """What the model's decoder says of a sample."""
    vector = manifest.vector
    column_scale = None if vector is None else np.array(vector.scale)
    return Likelihood(manifest.likelihood, manifest.likelihood_scale, column_scale)


def bounded(mu: Floats, logvar: Floats) -> npt.NDArray[np.bool_]:
    """(batch,) whether sigma and KL are finite; pixels are bounded, rows of numbers are not."""
    sound = (np.abs(mu) <= LARGEST_LATENT) & (logvar <= LARGEST_LOGVAR) & np.isfinite(logvar)
    return np.asarray(sound.all(axis=1))  # (batch,)


def _require_bounded(mu: Floats, logvar: Floats) -> None:
    sound = bounded(mu, logvar)
    if not sound.all():
        raise InvalidValue(
            f"row {int(np.argmin(sound))} must lie nearer to the training data: the model's "
            "numbers for it overflow; check its columns and their units"
        )


async def _run(
    model: ServedModel, operation: str, rows: npt.NDArray[np.generic], work: Work
) -> tuple[Floats, ...]:
    result = await model.batcher.submit(
        operation, rows, deadline=work.deadline_s, origin=work.origin
    )
    work.rows += len(rows)
    work.queue_s += result.queue_s
    work.infer_s += result.infer_s
    work.batch_rows = max(work.batch_rows, result.batch_rows)
    return result.outputs


def _numbers(count: int) -> tuple[str, ...]:
    return tuple(str(number) for number in range(1, count + 1))
