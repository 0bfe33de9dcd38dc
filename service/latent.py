"""What can be done with latents: choose, complete, traverse, interpolate, swap, place in the data.

Pure numpy and no other part of the service. Latents and mu are in prior standard deviations;
quantiles are those of mu over the training set (KL: Kingma & Welling, arXiv 1312.6114, appendix B).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from service.errors import InvalidValue, UnknownDimension

LARGEST_LATENT = 1e6  # far beyond any prior, and far from where float32 overflows in a graph
PERCENTILES = np.array([1, 5, 25, 50, 75, 95, 99], dtype=np.float64)

Floats = npt.NDArray[np.float32]
Dims = npt.NDArray[np.intp]
DimChoice = Literal["relevant", "all"] | Sequence[int | str]  # by number or by name


@dataclass(frozen=True)
class LatentSpace:
    """The facts about a model's latent dimensions, as arrays indexed by dim.

    Args:
        relevant_dims: (n_relevant,) in order of relevance.
        names: one name for each dim.
        relevance: (latent_dim,) in [0, 1].
        mu_mean: (latent_dim,) mean of mu over the training set.
        mu_quantiles: (latent_dim, 7) at `PERCENTILES`.
        elbo_quantiles: (7,) nats per image, at `PERCENTILES`.
    """

    relevant_dims: Dims
    names: tuple[str, ...]
    relevance: Floats
    mu_mean: Floats
    mu_quantiles: npt.NDArray[np.float64]
    elbo_quantiles: npt.NDArray[np.float64]

    @property
    def latent_dim(self) -> int:
        return len(self.names)

    @property
    def low(self) -> Floats:
        """(latent_dim,) the 1 % quantile of each dim: where a traversal starts."""
        return self.mu_quantiles[:, 0].astype(np.float32)

    @property
    def high(self) -> Floats:
        """(latent_dim,) the 99 % quantile of each dim: where a traversal ends."""
        return self.mu_quantiles[:, -1].astype(np.float32)


def select_dims(
    space: LatentSpace,
    dims: DimChoice = "relevant",
    *,
    top_k: int | None = None,
    threshold: float | None = None,
) -> Dims:
    """Choose dims: the relevant ones in order of relevance, all of them, or those asked for.

    Args:
        dims: "relevant", "all" (0, 1, 2, …), or dims by number or by name, in that order.
        top_k: keep the first k of the choice.
        threshold: keep those with at least this relevance.

    Raises:
        UnknownDimension: for a number out of range or a name that the model does not have.
        InvalidValue: for a dim named twice, top_k < 1 or a threshold outside [0, 1].
    """
    chosen = _chosen(space, dims)
    if threshold is not None:
        if not 0 <= threshold <= 1:
            raise InvalidValue(f"`threshold` is a relevance from 0 to 1; got {threshold}")
        chosen = chosen[space.relevance[chosen] >= threshold]
    if top_k is not None:
        if top_k < 1:
            raise InvalidValue(f"`top_k` must be at least 1; got {top_k}")
        chosen = chosen[:top_k]
    return chosen


def complete_latents(
    space: LatentSpace, rows: npt.ArrayLike, *, dims: DimChoice | None = None
) -> Floats:
    """Turn rows of latents into full rows; what is not given becomes the training mean.

    Args:
        rows: (n, k) finite numbers: k = `len(dims)` when `dims` is given, else every dim
            (k = latent_dim, in order of dim) or the relevant ones (in order of relevance).
        dims: also "all" or "relevant", which is the same as None but where all are relevant.

    Returns:
        float32 (n, latent_dim).

    Raises:
        InvalidValue: for another shape, a number that is not finite, or rows that may be in either
            order.
    """
    given = _finite_rows(rows)
    columns = _columns(space, given.shape[1], dims)
    full = np.tile(space.mu_mean, (len(given), 1))  # (n, latent_dim)
    full[:, columns] = given
    return full


def traversal_grid(base: Floats, dims: Dims, values: Floats) -> Floats:
    """Vary one dim at a time: in row i dims[i] takes values[i], the rest stays at `base`.

    Args:
        base: (latent_dim,).
        values: (len(dims), steps), from `traversal_values`.

    Returns:
        float32 (len(dims), steps, latent_dim).
    """
    grid = np.tile(base, (*values.shape, 1)).astype(np.float32)  # (rows, steps, latent_dim)
    grid[np.arange(len(dims)), :, dims] = values
    return grid


def traversal_values(dims: Dims, *, low: npt.ArrayLike, high: npt.ArrayLike, steps: int) -> Floats:
    """Where each of `dims` goes on its way from low to high: float32 (len(dims), steps).

    Args:
        low: a number, or one for each of `dims`; `high` likewise. low > high walks backwards.
        steps: columns, at least 1; a single step stands at the middle of the range.
    """
    if steps < 1:
        raise InvalidValue(f"`steps` must be at least 1; got {steps}")
    starts = _per_dim(low, dims, "low")  # (rows,)
    ends = _per_dim(high, dims, "high")  # (rows,)
    along = np.linspace(0, 1, steps) if steps > 1 else np.array([0.5])  # (steps,)
    return (starts[:, None] + (ends - starts)[:, None] * along).astype(np.float32)


def interpolate(first: Floats, second: Floats, *, steps: int) -> Floats:
    """Walk in a straight line from one row of latents to another, both ends included.

    Returns:
        float32 (steps, latent_dim).
    """
    if steps < 2:
        raise InvalidValue(f"`steps` of an interpolation must be at least 2; got {steps}")
    along = np.linspace(0, 1, steps, dtype=np.float32)[:, None]  # (steps, 1)
    return ((1 - along) * first + along * second).astype(np.float32)


def swap(first: Floats, second: Floats, *, dims: Dims) -> Floats:
    """The first row of latents with `dims` taken from the second: float32 (latent_dim,)."""
    swapped = first.astype(np.float32)
    swapped[dims] = second[dims]
    return swapped


def percentile_of(value: npt.ArrayLike, quantiles: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Where values lie among the training data, linear between the known quantiles.

    Args:
        value: any shape.
        quantiles: (7,) at `PERCENTILES`.

    Returns:
        Same shape, in [1, 99]: beyond the outer quantiles nothing is known, see `in_range`. Where
        quantiles are equal, a value equal to them gets the middle of their percentiles.
    """
    values, known = np.asarray(value, np.float64), np.asarray(quantiles, np.float64)
    from_below = np.interp(values, known, PERCENTILES)
    from_above = np.interp(-values, -known[::-1], PERCENTILES[::-1])
    percentile: npt.NDArray[np.float64] = np.asarray((from_below + from_above) / 2)
    return percentile


def in_range(value: npt.ArrayLike, quantiles: npt.ArrayLike) -> npt.NDArray[np.bool_]:
    """Whether values lie between the 1 % and 99 % quantiles; 2 % of the training data does not.

    Args:
        value: (..., n) or a number.
        quantiles: (n, 7) one row for each column of `value`, or (7,).
    """
    values, known = np.asarray(value), np.asarray(quantiles)
    inside: npt.NDArray[np.bool_] = np.asarray(
        (values >= known[..., 0]) & (values <= known[..., -1])
    )
    return inside


def novelty_percentile(
    elbo: npt.ArrayLike, elbo_quantiles: npt.ArrayLike
) -> npt.NDArray[np.float64]:
    """Share of training images, in percent, that the model explains better: 99 = very unusual."""
    return 100 - percentile_of(elbo, elbo_quantiles)


def kl_per_dim(mu: npt.NDArray[Any], logvar: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """KL(q(z_j|x) || N(0, 1)) = (mu² + exp(logvar) - 1 - logvar) / 2, in nats, >= 0.

    Args:
        mu: (batch, latent_dim); `logvar` likewise.

    Returns:
        (batch, latent_dim).
    """
    kl: npt.NDArray[Any] = 0.5 * (np.square(mu) + np.expm1(logvar) - logvar)
    return kl


def _chosen(space: LatentSpace, dims: DimChoice) -> Dims:
    if dims == "relevant":
        return space.relevant_dims
    if dims == "all":
        return np.arange(space.latent_dim)
    chosen = np.array([_dim_of(space, dim) for dim in dims], dtype=np.intp)
    if len(set(chosen.tolist())) != len(chosen):
        raise InvalidValue(f"`dims` must not name a dimension twice; got {chosen.tolist()}")
    return chosen


def _dim_of(space: LatentSpace, dim: int | str) -> int:
    if isinstance(dim, str) and dim in space.names:
        return space.names.index(dim)
    try:
        number = int(dim)
    except ValueError:
        raise UnknownDimension(dim, space.latent_dim) from None
    if not 0 <= number < space.latent_dim:
        raise UnknownDimension(dim, space.latent_dim)
    return number


def _finite_rows(rows: npt.ArrayLike) -> Floats:
    try:
        with np.errstate(over="ignore", invalid="ignore"):  # refused below
            given = np.asarray(rows, dtype=np.float32)
    except (ValueError, TypeError):
        raise InvalidValue(
            "latents must be rows of numbers, all of one length; got rows that differ"
        ) from None
    if given.ndim != 2 or len(given) == 0:
        raise InvalidValue(f"latents must be rows of numbers (n, dims); got shape {given.shape}")
    if not np.isfinite(given).all():
        raise InvalidValue("latents must be finite float32 numbers; got NaN or infinity")
    largest = np.abs(given).max(initial=0)
    if largest > LARGEST_LATENT:
        raise InvalidValue(
            f"latents must lie between -{LARGEST_LATENT:g} and {LARGEST_LATENT:g}; "
            f"got one as large as {largest:.3g}"
        )
    return given


def _columns(space: LatentSpace, width: int, dims: DimChoice | None) -> Dims:
    if dims is not None:
        columns = select_dims(space, dims)
        if len(columns) != width:
            raise InvalidValue(
                f"a row of latents must have {len(columns)} numbers, one for each of `dims`; "
                f"got {width}"
            )
        return columns
    if width == space.latent_dim:
        columns = np.arange(width)
        if width == len(space.relevant_dims) and (space.relevant_dims != columns).any():
            raise InvalidValue(
                "`dims` must say in which order a row is, as all dimensions of this model are "
                "relevant; got none; say `relevant` for rows as /encode answers them, or `all` for "
                "rows in order of dimension"
            )
        return columns
    if width == len(space.relevant_dims):
        return space.relevant_dims
    raise InvalidValue(
        f"a row of latents must have {space.latent_dim} numbers, or "
        f"{len(space.relevant_dims)} for the relevant dimensions; got {width}; "
        "name the dimensions with `dims` for any other choice"
    )


def _per_dim(bound: npt.ArrayLike, dims: Dims, name: str) -> npt.NDArray[np.float64]:
    values = np.asarray(bound, dtype=np.float64)
    if values.shape not in {(), (len(dims),)}:
        raise InvalidValue(
            f"`{name}` must be one number or one for each of {len(dims)} dimensions; "
            f"got shape {values.shape}"
        )
    if not np.isfinite(values).all():
        raise InvalidValue(f"`{name}` must be finite; got NaN or infinity")
    return np.broadcast_to(values, (len(dims),))
