"""How the scores of a run look on a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from training.data import Factors
from training.metrics import VoteResult
from training.metrics.dci import MIN_TEST_ROWS
from training.metrics.samplers import NoSuchRows

OTHER_TITLES = {
    "sap": "SAP",
    "modularity": "modularity",
    "explicitness": "explicitness",
    "irs": "IRS",
    "beta_vae_score": "beta-VAE score",
}
TITLES = {
    "factor_vae_score": "Metric I: one factor fixed (factor_vae_score)",
    "one_factor_varied_score": "Metric II: one factor varied (one_factor_varied_score)",
}


def why_not_scored(problem: NoSuchRows, factors: Factors) -> str:
    """What is missing for a vote metric, and what to do."""
    name = factors.factor_names[problem.factor]
    if problem.kind == "fixed":
        rule, reason = f"with the same `{name}`", "each has a value of its own"
    else:
        rule = f"that differ in `{name}` and in no other factor"
        reason = "the others decide it, or the images are too few for it"
    return (
        f"this metric needs two images {rule}; got none among {problem.n_rows:,}. "
        f"Leave `{name}` out of the factors: {reason}"
    )


def votes_table(name: str, result: VoteResult, *, factor_names: Sequence[str]) -> Table:
    """Held-out votes by dimension and factor, and each factor's accuracy below."""
    table = Table(title=TITLES[name], title_style="bold", box=box.SIMPLE_HEAD, show_footer=True)
    table.add_column("dim", "right", justify="right")
    for factor, accuracy in zip(factor_names, result.factor_accuracy, strict=True):
        share = "-" if np.isnan(accuracy) else f"{accuracy:.1%}"
        table.add_column(escape(factor), share, justify="right")
    table.add_column("stands for", no_wrap=True)
    for dim in result.active_dims:
        number = int(result.dim_factor[dim])
        votes = (f"{count:.0f}" for count in result.table[dim])
        table.add_row(str(dim), *votes, escape(factor_names[number]) if number >= 0 else "nothing")
    return table


def print_scores(
    console: Console,
    votes: dict[str, dict[str, VoteResult]],
    further: dict[str, Any],
    *,
    factor_names: Sequence[str],
) -> None:
    """The votes of both metrics, their scores in all three ways, and the scores beside them."""
    for name, results in votes.items():
        console.print(votes_table(name, results["robust"], factor_names=factor_names))
    console.print(_summary(votes))
    for line in _further_lines(further["mig"], further["dci_forest"]):
        console.print(line, highlight=False, markup=False, soft_wrap=True)
    others = {name: further[name] for name in OTHER_TITLES if name in further}
    if others:
        console.print(_others_table(others))


def _others_table(others: dict[str, dict[str, Any]]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, caption="with 95 % intervals")
    table.add_column("Other metrics")
    table.add_column("score", no_wrap=True)
    for name, content in others.items():
        scored = "score" in content
        score = _figure(content, "score", "ci95") if scored else escape(content["not_scored"])
        table.add_row(OTHER_TITLES[name], score)
    return table


def _further_lines(gap: dict[str, Any], regressed: dict[str, Any]) -> Iterator[str]:
    yield (
        f"MIG {_figure(gap, 'score', 'ci95')} · DCI (forest, {regressed['n_images']:,} images): "
        f"disentanglement {_figure(regressed, 'disentanglement')}, "
        f"completeness {_figure(regressed, 'completeness')}, NRMSE "
        f"{_figure(regressed, 'informativeness_nrmse', 'informativeness_ci95')} (lower is better)"
    )
    varying, predicted = regressed["varying_factors"], regressed["predicted_factors"]
    if len(predicted) < len(varying):
        yield (
            f"DCI rests on {len(predicted) or 'none'} of {len(varying)} factors"
            f"{', ' if predicted else ''}{', '.join(predicted)}; {_why_not_predicted(regressed)}"
        )
    if not regressed["disentanglement_is_defined"]:
        yield "Disentanglement tells factors apart: of fewer than two it is not defined, given as 0"


def _figure(content: dict[str, Any], name: str, interval: str | None = None) -> str:
    """`0.512 (0.480 to 0.544)`: a score with its 95 % interval, where there is one."""
    ends = content[interval or f"{name}_ci95"]
    shown = f"{content[name]:.3f}"
    return shown if ends is None else f"{shown} ({ends[0]:.3f} to {ends[1]:.3f})"


def _why_not_predicted(regressed: dict[str, Any]) -> str:
    if regressed["n_test_images"] < MIN_TEST_ROWS:
        return f"it takes {MIN_TEST_ROWS} images to test on, a tenth of all: give more images"
    rest = "the others" if regressed["predicted_factors"] else "they"
    return f"{rest} are predicted no better than by a constant"


def _summary(votes: dict[str, dict[str, VoteResult]]) -> Table:
    caption = "with 95 % intervals; held out: other votes than those that teach, dead dims masked"
    table = Table(box=box.SIMPLE_HEAD, caption=caption)
    table.add_column("Metric")
    for heading in ("paper's way", "held out", "held out, relevant dims"):
        table.add_column(heading, justify="right", no_wrap=True)
    for name, results in votes.items():
        short = TITLES[name].partition(":")[0].removeprefix("Metric ")
        table.add_row(short, *(_cell(result) for result in results.values()))
    return table


def _cell(result: VoteResult) -> str:
    if result.ci95 is None:
        return f"{result.score:.1%}"
    low, high = (100 * end for end in result.ci95)
    return f"{result.score:.1%} ({low:.1f} to {high:.1f})"
