"""The page docs/results.md: every figure of every run, commands, and what was published."""

from __future__ import annotations

from collections.abc import Sequence

from results_rows import KL_SOURCE, OVAL, PUBLISHED, PUBLISHED_KL, ROWS, SOURCE, Row
from results_table import (
    ABSENT,
    METRICS,
    NOT_RUN,
    WAYS,
    Cells,
    Result,
    Results,
    dci_cell,
    percent,
    run_dci,
    steps_of,
    table,
)

SCORES_HEADER = (
    "run",
    *(f"{key} {way}" for key in METRICS for way in ("paper's way", "robust", "relevant only")),
)
COST_HEADER = (
    "run",
    "DCI D / C / error",
    "MIG",
    "nats",
    "squared error",
    "steps",
    "seconds",
    "machine",
    "code",
)
DIMS_HEADER = ("run", "dimension", "factor", "relevance", "mean KL (nats)")


def page(results: Results, pictures: Sequence[str]) -> str:
    """The content of docs/results.md.

    Args:
        results: Of each row's name, its runs.
        pictures: Names of the traversals' pictures in benchmarks/results, without `.png`.
    """
    parts = [
        "# Results in full",
        "Made by `make results` from the JSON files in `benchmarks/results/`; see the "
        "[README](../README.md#results) for what the columns mean.",
        "## Commands",
        table(("row", "runs", "command"), [_command_line(row, results[row.name]) for row in ROWS]),
        *_findings([run for row in ROWS for run in results[row.name]]),
        *_pictures(results, pictures),
        "## Published",
        f"{SOURCE}; ten dimensions, 300,000 steps. Which runs the deviations are over is not said.",
        table(
            ("data", "method", "I", "II", "DCI forest D / C / error"), list(map(_source, PUBLISHED))
        ),
        f"Mean KL of the dimensions on {OVAL}, one run each ({KL_SOURCE}):",
        table(("method", "nats"), [(name, _nats(values)) for name, values in PUBLISHED_KL.items()]),
    ]
    return "\n\n".join(parts) + "\n"


def _findings(runs: Sequence[Result]) -> list[str]:
    if not runs:
        return ["No run of these configurations is in the table yet."]
    scored = [run for run in runs if run["n_relevant"] is not None]
    return [
        "## Scores",
        "Metrics I and II in percent with 95 % intervals:",
        table(SCORES_HEADER, [_score_line(run) for run in scored]),
        table(COST_HEADER, [_cost_line(run) for run in runs]),
        "## Dimensions",
        "Dimensions that count, most relevant first, and below them the largest KL of the others. "
        "Methods without a gate have a relevance of 1 everywhere.",
        table(DIMS_HEADER, [line for run in scored for line in _dims_lines(run)]),
        "\n".join(_missing_factors(run) for run in scored),
    ]


def _name(run: Result) -> str:
    return f"{run['row']}, seed {run['seed']}"


def _command_line(row: Row, runs: Sequence[Result]) -> Cells:
    seeds = ", ".join(str(run["seed"]) for run in runs)
    state = f"seeds {seeds}" if runs else NOT_RUN
    if runs and len(runs) < row.n_seeds:
        state += f"; {row.n_seeds - len(runs)} {NOT_RUN}"
    link = f"[{row.method}, {row.data}](../{row.config})"
    first = runs[0]["seed"] if runs else 1
    return [link, state, f"`make row ROW={row.name} SEED={first}`"]


def _score_line(run: Result) -> Cells:
    return [_name(run), *(_with_interval(run, key, way) for key in METRICS for way in WAYS)]


def _with_interval(run: Result, key: str, way: str) -> str:
    interval = run["metrics"].get(METRICS[key], {}).get(way, {}).get("ci95")
    if interval is None:
        return percent(run, key, way)
    low, high = (100 * end for end in interval)
    return f"{percent(run, key, way)} ({low:.1f} to {high:.1f})"


def _cost_line(run: Result) -> Cells:
    if run["n_relevant"] is None:
        scores = [ABSENT] * 4
    else:
        error = run["reconstruction"]
        scores = [
            run_dci(run),
            f"{run['mig']:.3f}",
            f"{error['nats']:.2f}",
            f"{error['squared']:.5f}",
        ]
    cost = [steps_of(run), f"{run['seconds']:,}", run["machine"], run["code_version"]]
    return [_name(run), *scores, *cost]


def _dims_lines(run: Result) -> list[Cells]:
    lines: list[Cells] = [
        [
            _name(run),
            str(dim),
            run["factor_of_dim"].get(str(dim), "?"),
            f"{run['relevance'][dim]:.2f}",
            f"{run['mean_kl'][dim]:.2f}",
        ]
        for dim in run["relevant_dims"]
    ]
    others = [kl for dim, kl in enumerate(run["mean_kl"]) if dim not in run["relevant_dims"]]
    if others:
        lines.append([_name(run), f"{len(others)} others", "", "", f"at most {max(others):.4f}"])
    return lines


def _missing_factors(run: Result) -> str:
    missing = [name for name in run["factor_names"] if name not in run["factor_of_dim"].values()]
    return f"- {_name(run)}: factors without a relevant dimension: {', '.join(missing) or 'none'}."


def _pictures(results: Results, pictures: Sequence[str]) -> list[str]:
    parts = []
    for run in (run for row in ROWS for run in results[row.name]):
        name = f"{run['row']}-s{run['seed']}"
        if name in pictures:
            path = f"../benchmarks/results/{name}.png"
            parts += [f"### {_name(run)}", f"![What sweeping each dimension does]({path})"]
    return parts


def _source(key: tuple[str, str]) -> Cells:
    (data, method), published = key, PUBLISHED[key]
    scores = [f"{mean:.1f} ± {sd:.1f}" for mean, sd in (published.metric_1, published.metric_2)]
    return [data, method, *scores, dci_cell(published.dci)]


def _nats(values: Sequence[float]) -> str:
    return ", ".join(f"{value:g}" for value in values)
