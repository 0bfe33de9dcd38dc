"""Which latent dimensions are relevant: six votes a dimension, one rule, and what disagrees.

A bare threshold on the learned relevance is not enough: a gate may close on a dimension that woke
up late, or stop half-way on one that carries nats (arXiv 1909.02820 shows 0.40 at 5 nats). So the
gate is one witness among several, and the others are what a dimension does.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

RELEVANCE = 0.5
KL_NATS = 0.1
ACTIVE_VARIANCE = 0.01  # squared prior standard deviations (arXiv 1509.00519)
SENSITIVITY_SHARE = 0.01
TRAVERSAL_SHARE = 0.0025  # of the image's pixels: 10 of 64 x 64
# Standard deviations of a row's columns, summed: a sweep that moves one column correlated by 0.11.
TRAVERSAL_SPREAD = 0.5
INFORMATION_NATS = 0.1
STRONG_KL_NATS = 0.5

RULE = (
    f"A dimension is relevant if its mean moves (Var(mu) > {ACTIVE_VARIANCE}), it carries at least "
    f"{KL_NATS} nats (mean KL), and either its learned relevance is at least {RELEVANCE}, or it "
    f"carries at least {STRONG_KL_NATS} nats and has at least {SENSITIVITY_SHARE:.0%} of the "
    "decoder's sensitivity. A fixed, uniform relevance has no vote. Relevant dimensions are "
    "ordered by relevance, to two decimals, then by mean KL."
)


@dataclass(frozen=True)
class Evidence:
    """What is known of one dimension.

    Attributes:
        dim: Its number.
        relevance: [0, 1].
        gate_votes: False for a relevance that is fixed and the same for all dimensions.
        mean_kl: Nats.
        active_variance: Variance of mu over the images.
        decoder_sensitivity: Squared slope of the decoder times `active_variance`, squared pixels.
        sensitivity_share: Its part of all dimensions' decoder sensitivity, [0, 1].
        traversal_effect: Pixels that its sweep changes; of a row of numbers, the columns' changes
            in their standard deviations, summed.
        n_pixels: Pixels of an image; None for rows of numbers.
        mutual_information: Nats between the image and its sampled code.
        sensitivity_votes: False where no dimension carries `KL_NATS`: the parts of next to nothing
            sum to 1 too.
    """

    dim: int
    relevance: float
    gate_votes: bool
    mean_kl: float
    active_variance: float
    decoder_sensitivity: float
    sensitivity_share: float
    traversal_effect: float
    n_pixels: int | None
    mutual_information: float
    sensitivity_votes: bool = True


def votes_of(evidence: Evidence) -> dict[str, bool | None]:
    """Each witness's vote for "relevant"; None is an abstention."""
    return {
        "relevance": evidence.relevance >= RELEVANCE if evidence.gate_votes else None,
        "kl": evidence.mean_kl >= KL_NATS,
        "active_variance": evidence.active_variance > ACTIVE_VARIANCE,
        "sensitivity": (
            evidence.sensitivity_share >= SENSITIVITY_SHARE if evidence.sensitivity_votes else None
        ),
        "traversal": evidence.traversal_effect >= _traversal_threshold(evidence),
        "mutual_information": evidence.mutual_information >= INFORMATION_NATS,
    }


def _traversal_threshold(evidence: Evidence) -> float:
    if evidence.n_pixels is None:
        return TRAVERSAL_SPREAD
    return TRAVERSAL_SHARE * evidence.n_pixels


def is_relevant(evidence: Evidence) -> bool:
    """The rule (`RULE` in words)."""
    votes = votes_of(evidence)
    strong = evidence.mean_kl >= STRONG_KL_NATS and bool(votes["sensitivity"])
    return bool(votes["active_variance"] and votes["kl"] and (votes["relevance"] or strong))


def relevant_order(dimensions: Sequence[Evidence]) -> list[int]:
    """The relevant dimensions, most relevant first.

    Gates near 1 differ by where training stopped, not by meaning, hence the rounding.
    """
    kept = [evidence for evidence in dimensions if is_relevant(evidence)]
    kept.sort(key=lambda e: (-round(e.relevance, 2), -e.mean_kl, e.dim))
    return [evidence.dim for evidence in kept]


def ordered_rows(report: dict[str, Any]) -> list[dict[str, Any]]:
    """The rows of a report's `dims`: relevant ones in their order, the rest by falling mean KL."""
    rows = report["dims"]
    nuisances = [row for row in rows if not row["relevant"]]
    nuisances.sort(key=lambda row: -row["mean_kl"])
    return [rows[dim] for dim in report["relevant_dims"]] + nuisances


_WORDS: dict[str, Callable[[Evidence], str]] = {
    "relevance": lambda e: f"relevance {e.relevance:.2f}",
    "kl": lambda e: f"mean KL {e.mean_kl:.3g} nats",
    "active_variance": lambda e: f"variance of mu {e.active_variance:.2g}",
    "sensitivity": lambda e: f"{e.sensitivity_share:.1%} of the decoder's sensitivity",
    "traversal": lambda e: (
        f"a traversal that changes {e.traversal_effect:.1f} pixels"
        if e.n_pixels is not None
        else f"a traversal that moves columns by {e.traversal_effect:.2f} standard deviations"
    ),
    "mutual_information": lambda e: f"mutual information {e.mutual_information:.2f} nats",
}


def disagreements(dimensions: Sequence[Evidence]) -> list[str]:
    """One sentence for each dimension on which the witnesses do not agree."""
    sentences = [_disagreement(evidence) for evidence in dimensions]
    return [sentence for sentence in sentences if sentence]


def _disagreement(evidence: Evidence) -> str | None:
    relevant = is_relevant(evidence)
    against = [
        name
        for name, vote in votes_of(evidence).items()
        if vote is not None and vote is not relevant
    ]
    if not against:
        return None
    verdict = "relevant" if relevant else "a nuisance"
    findings = ", ".join(_WORDS[name](evidence) for name in against)
    return f"dimension {evidence.dim} counts as {verdict} in spite of {findings}{_advice(against)}"


def _advice(against: Sequence[str]) -> str:
    if "relevance" not in against:
        return ""
    return "; the gate may not have settled: look at its curve, or train longer"
