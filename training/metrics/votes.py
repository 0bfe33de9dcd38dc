"""Majority votes over latent dimensions, shared by Metrics I and II (arXiv 1902.01568, section 5).

A vote is a set of images and the factor that tells how it was drawn; it goes to one dimension. The
classifier gives each dimension the factor it got most training votes from; the score is the part of
the evaluation votes that it gets right.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import binomtest

from training.metrics.inputs import (
    MIN_STD,
    Floats,
    Ints,
    active_dims,
    as_classes,
    as_codes,
    make_rng,
)
from training.metrics.results import Interval, MetricResult, centred_interval
from training.metrics.samplers import FactorSampler, GridSampler, TableSampler, choose

EncodeIndices = Callable[[Ints], Floats]


@dataclass(frozen=True, kw_only=True)
class VoteProtocol:
    """How votes are drawn and scored.

    Attributes:
        n_train: Votes that teach the classifier, spread evenly over the factors.
        n_eval: Further votes that score it; 0 scores it on the training votes.
        n_images: Images in a vote, at most; a grid has only K_k images that differ in factor k.
        n_global: Images for the variance over all factors, at most.
        ddof: 0 for the population variance, 1 for the unbiased one.
        min_std: Dimensions that spread less than this get no vote; constant ones never do.
        epsilon: Added to the variance over all factors.
        n_bootstrap: Resampled vote tables behind the interval.
    """

    n_train: int = 800
    n_eval: int = 800
    n_images: int = 100
    n_global: int = 10_000
    ddof: int = 1
    min_std: float = MIN_STD
    epsilon: float = 0.0
    n_bootstrap: int = 1000


# As in seqam-lab/rfvae `src/solver.py` at 07089e2, but with votes left over from a division that
# does not come out even spread over the factors: there they count as (dimension 0, factor 0). And
# without dimensions that are constant to the bit: 0 / epsilon there wins every vote of Metric I.
PAPER = VoteProtocol(n_eval=0, n_global=5000, ddof=0, min_std=0.0, epsilon=1e-20)
# Held-out votes, and dead dimensions masked.
ROBUST = VoteProtocol()


@dataclass(frozen=True, kw_only=True)
class VoteResult(MetricResult):
    """Outcome of a vote.

    Attributes:
        table: (latent_dim, n_factors) counts of the votes that were scored.
        train_table: The same of the votes that taught the classifier.
        train_accuracy: Part of the training votes that the classifier gets right.
        eval_accuracy: Part of the held-out votes, or None where there were none.
        factor_accuracy: (n_factors,) part right of each factor's scored votes; NaN for a factor
            with a single value, which casts no vote.
        active_dims: Dimensions that could get votes.
        dim_factor: (latent_dim,) factor that each dimension stands for, -1 for none.
    """

    train_table: Ints
    train_accuracy: float
    eval_accuracy: float | None
    factor_accuracy: Floats
    active_dims: list[int]
    dim_factor: Ints


@dataclass(frozen=True, kw_only=True)
class VoteMetric:
    """A metric by its rule: how to draw a set of images, and which dimension it votes for.

    Attributes:
        draw: (sampler, factor, n, rng) to the numbers of at most n images.
        pick: (votes, dims), variances of the sets over those of all images, to the winners (votes,)
    """

    draw: Callable[[FactorSampler, int, int, np.random.Generator], Ints]
    pick: Callable[[Floats], Ints]

    def __call__(
        self,
        codes: ArrayLike,
        factors: ArrayLike,
        *,
        seed: int | np.random.Generator,
        protocol: VoteProtocol = ROBUST,
        dims: Sequence[int] | None = None,
    ) -> VoteResult:
        """The metric of a labelled table.

        Args:
            codes: (n, latent_dim).
            factors: (n, n_factors) classes. Factors with one value cast no vote.
            seed: Seed, or a generator to go on with.
            protocol: `ROBUST` (held-out votes, dead dimensions masked) or `PAPER`.
            dims: Dimensions that may get votes, such as the relevant ones; None for those that
                `protocol.min_std` leaves. Constant ones get none either way.

        Returns:
            Accuracy in [0, 1]: 1 for perfect codes, about 1/n_factors by chance, 0 if all are dead.
            Dimensions are numbered as in the codes.

        Raises:
            NoSuchRows: The table has no such set of images for some factor.
            ValueError: There are fewer votes than factors that vary.
        """
        table = as_codes(codes)
        sampler = TableSampler(as_classes(factors, len(table)))
        return self._run(sampler, table.__getitem__, seed=seed, protocol=protocol, dims=dims)

    def on_grid(
        self,
        encode_indices: EncodeIndices,
        factor_sizes: Sequence[int],
        *,
        seed: int | np.random.Generator,
        protocol: VoteProtocol = ROBUST,
        dims: Sequence[int] | None = None,
    ) -> VoteResult:
        """The metric of an encoder on a full grid of factor values.

        Args:
            encode_indices: Image numbers (n,), row-major over the grid, to codes (n, latent_dim).
            factor_sizes: Number of values of each factor.
            seed: As in a call, like `protocol` and `dims`.

        Returns:
            As a call.

        Raises:
            ValueError: There are fewer votes than factors that vary.
        """
        sampler = GridSampler(factor_sizes)
        return self._run(sampler, encode_indices, seed=seed, protocol=protocol, dims=dims)

    def _run(
        self,
        sampler: FactorSampler,
        encode: EncodeIndices,
        *,
        seed: int | np.random.Generator,
        protocol: VoteProtocol,
        dims: Sequence[int] | None,
    ) -> VoteResult:
        """Draw, encode and count the votes, and score them."""
        _require_votes(protocol, sampler.varying)
        # A stream for each purpose: with one seed, protocols that differ in other numbers see the
        # same training votes, so what differs between their scores is the protocol.
        streams = make_rng(seed).spawn(4)
        overall = encode(choose(sampler.n_images, protocol.n_global, streams[0]))
        spread = overall.var(axis=0, ddof=protocol.ddof) + protocol.epsilon
        active = _allowed_dims(overall, dims, protocol)
        tables = []
        for n_votes, rng in zip((protocol.n_train, protocol.n_eval), streams[1:3], strict=True):
            labels = spread_votes(n_votes, sampler.varying)
            table = np.zeros((overall.shape[1], sampler.n_factors), dtype=np.int64)
            if len(active) and len(labels):
                groups = [self.draw(sampler, int(k), protocol.n_images, rng) for k in labels]
                variances = _group_variances(groups, encode, protocol.ddof)  # (votes, latent_dim)
                winners = self.pick(variances[:, active] / spread[active])
                np.add.at(table, (active[winners], labels), 1)
            tables.append(table)
        return _score(tables[0], tables[1], active, protocol=protocol, rng=streams[3])


def spread_votes(n_votes: int, factors: Ints) -> Ints:
    """The factor of each vote: equally many, the first ones taking what is left over."""
    return np.sort(np.resize(factors, n_votes)) if len(factors) else np.empty(0, dtype=np.int64)


def _require_votes(protocol: VoteProtocol, varying: Ints) -> None:
    """A factor without a vote would leave the score as if it did not exist."""
    least = min(protocol.n_train, protocol.n_eval or protocol.n_train)
    if least < len(varying):
        raise ValueError(
            f"each of the {len(varying)} factors that vary needs a vote; got `n_train` "
            f"{protocol.n_train} and `n_eval` {protocol.n_eval}. Draw {len(varying)} or more; "
            "800 are usual."
        )


def _allowed_dims(overall: Floats, dims: Sequence[int] | None, protocol: VoteProtocol) -> Ints:
    if dims is None and protocol.min_std > 0:
        return active_dims(overall, protocol.min_std)
    allowed = np.unique(np.asarray(range(overall.shape[1]) if dims is None else dims, np.int64))
    if len(allowed) and not 0 <= allowed[0] <= allowed[-1] < overall.shape[1]:
        raise ValueError(
            f"`dims` must lie in 0 to {overall.shape[1] - 1}, the dimensions of the codes; "
            f"got {allowed.tolist()}."
        )
    return np.asarray(allowed[np.ptp(overall[:, allowed], axis=0) > 0])


def _group_variances(groups: list[Ints], encode: EncodeIndices, ddof: int) -> Floats:
    """Variance of the codes within each group of images: (groups, latent_dim)."""
    sizes = np.array([len(group) for group in groups])
    starts = np.cumsum(sizes) - sizes
    codes = encode(np.concatenate(groups))  # (images, latent_dim)
    means = np.add.reduceat(codes, starts) / sizes[:, None]
    squares = np.square(codes - np.repeat(means, sizes, axis=0))
    return np.asarray(np.add.reduceat(squares, starts) / np.maximum(sizes - ddof, 1)[:, None])


def _score(
    train: Ints, evaluation: Ints, active: Ints, *, protocol: VoteProtocol, rng: np.random.Generator
) -> VoteResult:
    scored = evaluation if protocol.n_eval else train
    accuracy = float(_accuracy(train, scored))
    voted = scored.sum(axis=0)
    dim_factor = np.where(train.sum(axis=1) > 0, train.argmax(axis=1), -1)
    right = np.where(dim_factor[:, None] == np.arange(train.shape[1]), scored, 0).sum(axis=0)
    varying = voted > 0 if len(active) else np.zeros(len(voted), dtype=bool)
    return VoteResult(
        score=accuracy,
        table=scored.astype(np.float64),
        ci95=_vote_interval(train, scored, n_bootstrap=protocol.n_bootstrap, rng=rng),
        train_table=train,
        train_accuracy=float(_accuracy(train, train)),
        eval_accuracy=accuracy if protocol.n_eval else None,
        factor_accuracy=np.where(varying, right / np.maximum(voted, 1), np.nan),
        active_dims=active.tolist(),
        dim_factor=dim_factor,
    )


def _accuracy(train: Ints, scored: Ints) -> Floats:
    """Accuracy of the majority classifier of `train` on `scored`, both (…, latent_dim, n_factors).

    A dimension without training votes gets none right. No votes at all is accuracy 0.
    """
    winner = train.argmax(axis=-1, keepdims=True)
    right = np.take_along_axis(scored, winner, axis=-1)[..., 0]
    right = np.where(train.sum(axis=-1) > 0, right, 0).sum(axis=-1)
    return np.asarray(right / np.maximum(scored.sum(axis=(-2, -1)), 1))


def _vote_interval(
    train: Ints, scored: Ints, *, n_bootstrap: int, rng: np.random.Generator
) -> Interval | None:
    """Resample each factor's votes, in training and evaluation, and score again.

    Where that changes nothing, such as where all are right, the exact interval of so many votes
    (Clopper and Pearson) says what others could have given.
    """
    if n_bootstrap < 2:
        return None
    train_tables = _resample(train, n_bootstrap, rng)
    scored_tables = train_tables if scored is train else _resample(scored, n_bootstrap, rng)
    replicates = _accuracy(train_tables, scored_tables)
    score, n_votes = float(_accuracy(train, scored)), int(scored.sum())
    if n_votes and np.ptp(replicates) == 0:
        exact = binomtest(round(score * n_votes), n_votes).proportion_ci()
        return float(exact.low), float(exact.high)
    return centred_interval(score, replicates)


def _resample(table: Ints, n: int, rng: np.random.Generator) -> Ints:
    """`n` tables whose columns are drawn with repetition from those of `table`."""
    columns = []
    for column in table.T:
        total = int(column.sum())
        chances = column / total if total else np.full(len(column), 1 / len(column))
        columns.append(rng.multinomial(total, chances, size=n))  # (n, latent_dim)
    return np.stack(columns, axis=-1)
