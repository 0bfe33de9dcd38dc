"""How well the dimensions match the known factors: for the manifest, and for the model card."""

from collections.abc import Mapping, Sequence
from typing import Any

from onnx_export.markdown import percent, table

METRIC_TITLES = {
    "factor_vae_score": "Metric I (FactorVAE score: one factor fixed)",
    "one_factor_varied_score": "Metric II (one factor varied)",
}
# The way a metric was taken, the figure that counts for it, and what is added to the metric's name.
WAYS = (
    ("paper", "score", ""),
    ("robust", "eval_accuracy", "_robust"),
    ("relevant", "eval_accuracy", "_relevant"),
)
HEADER = (
    "",
    "as in the paper",
    "held-out votes, dead dimensions masked",
    "held-out, relevant only",
)
FURTHER = {
    "mig": ("score",),
    "dci_forest": ("disentanglement", "completeness", "informativeness_nrmse"),
}

Evaluation = Mapping[str, Any]


def scores(evaluation: Evaluation | None) -> dict[str, float]:
    """Every score by name.

    A metric has its own name in the paper's way, and `_robust` or `_relevant` added for the ways
    that hold votes out.
    """
    if evaluation is None:
        return {}
    found = {
        f"{name}{suffix}": float(ways[way][figure])
        for name, ways in sorted(evaluation["metrics"].items())
        for way, figure, suffix in WAYS
        if way in ways
    }
    return found | _further(evaluation)


def score_section(evaluation: Evaluation | None, *, before_pruning: bool = False) -> str:
    """The section "Scores" of the model card.

    Args:
        before_pruning: whether they are those of the model with all dimensions; with fewer the
            votes can fall otherwise.
    """
    if evaluation is None:
        return (
            "## Scores\n\nNot evaluated. `rfvae-train evaluate RUN` before the export adds "
            "Metrics I and II (for data with known factors)."
        )
    metrics: Evaluation = evaluation["metrics"]
    rows = [
        (METRIC_TITLES.get(name, name), *(_cell(metrics[name], *way[:2]) for way in WAYS))
        for name in sorted(metrics)
    ]
    heading = "## Scores of the model before pruning" if before_pruning else "## Scores"
    parts = [heading, table(HEADER, rows), _by_factor(evaluation), _further_line(evaluation)]
    parts.append(
        f"With 95 % intervals; {evaluation['n_votes']} votes, seed {evaluation['seed']}. "
        "Constant dimensions get no vote."
    )
    return "\n\n".join(part for part in parts if part)


def _cell(ways: Evaluation, way: str, figure: str) -> str:
    if way not in ways:
        return "not measured"
    interval: Sequence[float] | None = ways[way].get("ci95")
    ends = "" if interval is None else f" ({percent(interval[0])} to {percent(interval[1])})"
    return percent(ways[way][figure]) + ends


def _by_factor(evaluation: Evaluation) -> str:
    """In the paper's way: the share of the votes on each factor that were right."""
    factors: Sequence[str] = evaluation.get("factor_names") or ()
    rows = [
        (METRIC_TITLES.get(name, name), *map(percent, ways["paper"]["factor_accuracy"]))
        for name, ways in sorted(evaluation["metrics"].items())
        if "factor_accuracy" in ways.get("paper", {})
    ]
    return table(("by factor, as in the paper", *factors), rows) if rows else ""


def _further(evaluation: Evaluation) -> dict[str, float]:
    further = evaluation.get("further_metrics", {})
    return {
        name if figure == "score" else f"{name}_{figure}": float(further[name][figure])
        for name, figures in FURTHER.items()
        for figure in figures
        if figure in further.get(name, {})
    }


def _further_line(evaluation: Evaluation) -> str:
    found = _further(evaluation)
    return "; ".join(f"`{name}` {value:.3f}" for name, value in found.items())
