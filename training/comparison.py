"""What several runs agree on: their dimensions matched, and the factor that each match follows."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import binomtest

from training.metrics.information import (
    binned_active,
    chance_information,
    entropies,
    information_table,
)
from training.metrics.inputs import Floats, Ints, active_dims
from training.metrics.matching import (
    Cluster,
    Matching,
    Similarity,
    agreement,
    cluster_dims,
    correlations,
    match,
)
from training.metrics.results import MetricResult
from training.metrics.udr import udr

# On 50 images and more a dimension that knows nothing hardly reaches it.
MIN_SHARE = 0.2
SMALLEST_ENTROPY = 1e-9  # nats; below are rounding errors


@dataclass(frozen=True)
class RunCodes:
    """One run as the comparison sees it.

    Attributes:
        name: Of its folder, as given.
        facts: What `compare.json` keeps of `run.json`.
        report: Its relevance report.
        codes: (n, latent_dim), mu of the images that all runs are compared over.
    """

    name: str
    facts: dict[str, Any]
    report: dict[str, Any]
    codes: Floats

    @property
    def relevant_dims(self) -> list[int]:
        """As the report orders them."""
        return list(self.report["relevant_dims"])

    @property
    def relevant_codes(self) -> Floats:
        """(n, n_relevant), in that order."""
        return self.codes[:, self.relevant_dims]


@dataclass(frozen=True)
class KnownFactors:
    """Ground truth of the images compared over: names, and classes (n, n_factors)."""

    names: Sequence[str]
    classes: Ints


@dataclass(frozen=True)
class Found:
    """A dimension that one or more runs have.

    Attributes:
        members: (run, dimension), in the order of the runs.
        signs: 1 or -1 for each member, relative to the first one.
        correlation: Mean absolute correlation of the members; NaN for a single one.
        factor: The known factor it tells most about, or None.
        share: The part of that factor's entropy that it tells beyond chance, mean over the members.
    """

    members: tuple[tuple[int, int], ...]
    signs: tuple[int, ...]
    correlation: float
    factor: str | None
    share: float


@dataclass(frozen=True)
class Comparison:
    """What the runs agree on; `udr` is `training.metrics.udr`'s result."""

    runs: Sequence[RunCodes]
    found: Sequence[Found]
    udr: MetricResult
    factor_names: Sequence[str]

    def runs_with(self, factor: str) -> list[int]:
        """Numbers of the runs in which a relevant dimension follows `factor`."""
        clusters = [one for one in self.found if one.factor == factor]
        return sorted({run for one in clusters for run, _ in one.members})


def compare_codes(
    runs: Sequence[RunCodes],
    *,
    factors: KnownFactors | None,
    matching: Matching,
    seed: int,
) -> Comparison:
    """Match the relevant dimensions of all runs.

    Args:
        runs: Two or more, with codes of the same images.
        factors: Of these images, where they are known.
        matching: When two dimensions are the same one.
        seed: Of the resampling behind the interval of UDR.
    """
    clusters = cluster_dims([run.relevant_codes for run in runs], matching=matching)
    shares = [factor_shares(run.codes, factors) for run in runs]
    names = list(factors.names) if factors else []
    return Comparison(
        runs=runs,
        found=[_found(cluster, runs, shares=shares, names=names) for cluster in clusters],
        udr=udr(
            [run.codes for run in runs],
            kl_by_run=[[row["mean_kl"] for row in run.report["dims"]] for run in runs],
            seed=seed,
        ),
        factor_names=names,
    )


def factor_shares(codes: Floats, factors: KnownFactors | None) -> Floats:
    """What dimension j tells of factor k beyond chance: 1 if all of it, about 0 if nothing.

    (I(code j; factor k) - I by chance) / (H(factor k) - I by chance): on few images histograms
    give any two columns some information, the more the more classes they have.

    Returns:
        (latent_dim, n_factors), at least 0; no columns without factors.
    """
    if factors is None:
        return np.zeros((codes.shape[1], 0))
    bins = binned_active(codes, active_dims(codes))
    chance = chance_information(bins, factors.classes)
    told = np.maximum(information_table(bins, factors.classes) - chance, 0.0)
    left = entropies(factors.classes) - chance  # nothing where bins and classes have one row each
    return np.asarray(told / np.where(left > SMALLEST_ENTROPY, left, np.inf))


def _found(
    cluster: Cluster, runs: Sequence[RunCodes], *, shares: Sequence[Floats], names: Sequence[str]
) -> Found:
    members = tuple((run, runs[run].relevant_dims[column]) for run, column in cluster.members)
    factor, share = None, 0.0
    if names:
        told = np.mean([shares[run][dim] for run, dim in members], axis=0)  # (n_factors,)
        share = float(told.max())
        factor = names[int(told.argmax())] if share >= MIN_SHARE else None
    return Found(members, cluster.signs, cluster.correlation, factor=factor, share=share)


def describe(comparison: Comparison, *, similarity: Similarity) -> dict[str, Any]:
    """The content of `compare.json` that comes from the codes."""
    result, n_runs = comparison.udr, len(comparison.runs)
    return {
        "runs": [
            {
                "run": run.name,
                **run.facts,
                "relevant_dims": run.relevant_dims,
                "n_relevant": len(run.relevant_dims),
                "udr": float(score),
                "udr_ci95": interval,
            }
            for run, score, interval in zip(
                comparison.runs,
                result.details["by_run"],
                result.details["ci95_by_run"],
                strict=True,
            )
        ],
        "udr": {
            "score": result.score,
            "ci95": result.ci95,
            "table": [[None if np.isnan(x) else float(x) for x in row] for row in result.table],
        },
        "clusters": [_cluster_content(one, n_runs=n_runs) for one in comparison.found],
        "factors": [
            {"name": name, "runs": comparison.runs_with(name)}
            | _how_often(len(comparison.runs_with(name)), n_runs)
            for name in comparison.factor_names
        ],
        "pairs": [
            _pair(comparison.runs, pair, similarity=similarity)
            for pair in itertools.combinations(range(n_runs), 2)
        ],
    }


def _cluster_content(one: Found, *, n_runs: int) -> dict[str, Any]:
    return {
        "factor": one.factor,
        "factor_share": one.share,
        "correlation": None if np.isnan(one.correlation) else one.correlation,
        "members": [
            {"run": run, "dim": dim, "sign": sign}
            for (run, dim), sign in zip(one.members, one.signs, strict=True)
        ],
        **_how_often(len(one.members), n_runs),
    }


def _how_often(n_found: int, n_runs: int) -> dict[str, Any]:
    """With the exact 95 % interval (Clopper and Pearson) of how often another run would."""
    interval = binomtest(n_found, n_runs).proportion_ci()
    return {"n_found": n_found, "n_runs": n_runs, "ci95": [interval.low, interval.high]}


def _pair(
    runs: Sequence[RunCodes], pair: tuple[int, int], *, similarity: Similarity
) -> dict[str, Any]:
    first, second = (runs[number] for number in pair)
    table = correlations(first.relevant_codes, second.relevant_codes, similarity=similarity)
    return {
        "runs": list(pair),
        "agreement": agreement(table),
        "matches": [
            {
                "dims": [first.relevant_dims[row], second.relevant_dims[column]],
                "correlation": float(table[row, column]),
            }
            for row, column in match(table)
        ],
    }
