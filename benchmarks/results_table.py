"""The results as Markdown tables for the README, one a set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from results_rows import COMPARED, OVAL, PUBLISHED, PUBLISHED_KL, ROWS, SOURCE, Published, Row

Result = dict[str, Any]
Results = Mapping[str, Sequence[Result]]
Cells = Sequence[str]

WAYS = ("paper", "robust", "relevant")
METRICS = {"I": "factor_vae_score", "II": "one_factor_varied_score"}
NOT_RUN, ABSENT = "not run", "-"
FEW_IMAGES, MARK = 10_000, " †"
README_HEADER = (
    "",
    "relevant dimensions",
    "I, II (%)",
    "robust",
    "relevant only",
    "DCI",
    "MIG",
    "rec.",
    "steps, time",
)
LEGEND = f"""\
Relevant dimensions as `rfvae-train report` decides them (active ones for methods without a gate),
each with the factor that Metric II's votes give it: two that share a circle may get two, and
*shape* of dSprites is one of the two for orientation, on whose radius it lies. I, II: the two vote
metrics, the paper's way (constant dimensions, such as those that RF-VAE closed, get no vote);
*robust*: scored on held-out votes, dead dimensions masked; *relevant only*: the same over the
relevant dimensions. DCI with a random forest over all images, up to 250,000, as the authors do
({MARK.strip()}: over {FEW_IMAGES:,}, which makes it look worse): disentanglement / completeness /
error, the last better when low; unlike theirs, a factor that the forest predicts no better than a
constant counts as not found. MIG: mutual information gap. rec.: nats an image, better when low.
In italics what was published: {SOURCE}. Intervals, KL by dimension, traversals and one command a
row: [docs/results.md](docs/results.md)."""


def readme_section(results: Results, *, figure: Path | None) -> str:
    """What stands between the README's marks.

    Args:
        results: Of each row's name, its runs.
        figure: The comparison's picture from the README, if it was made.
    """
    parts = [] if figure is None else [f"![{_alt(results)}]({figure.as_posix()})"]
    machines = _machines(results)
    for data in dict.fromkeys(row.data for row in ROWS):
        rows = [row for row in ROWS if row.data == data and not row.earlier]
        earlier = [row for row in ROWS if row.data == data and row.earlier]
        parts += [f"**{data}**", _readme_table(rows, results, machines)]
        if earlier:
            opening = f"<details><summary>{data}, as it was run before</summary>"
            parts += [opening, _readme_table(earlier, results, machines), "</details>"]
    return "\n\n".join([*parts, LEGEND + _machine_note(machines)])


def _alt(results: Results) -> str:
    runs = [run for name in COMPARED if (run := pictured(results, name))]
    seeds = [f"{run['method']} seed {run['seed']}" for run in runs]
    return (
        "KL and relevance of each dimension of VAE, FactorVAE and RF-VAE on Oval-dSprites, and "
        f"what sweeping each relevant dimension of RF-VAE does ({', '.join(seeds)})"
    )


def pictured(results: Results, name: str) -> Result | None:
    """The run that stands for a row: of its lowest seed with scores."""
    scored = (run for run in results[name] if run["n_relevant"] is not None)
    return next(scored, None)


def table(header: Cells, lines: Sequence[Cells]) -> str:
    """A Markdown table."""
    rows = [header, ["---"] * len(header), *lines]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in rows)


def _machines(results: Results) -> dict[str, str]:
    """A letter for each machine, in the order of the table."""
    names = dict.fromkeys(run["machine"] for row in ROWS for run in results[row.name])
    return {name: chr(ord("a") + number) for number, name in enumerate(names)}


def _machine_note(machines: Mapping[str, str]) -> str:
    if not machines:
        return ""
    named = "; ".join(f"({letter}) {name}" for name, letter in machines.items())
    return f"\nMachines: {named}."


def _readme_table(rows: Sequence[Row], results: Results, machines: Mapping[str, str]) -> str:
    lines = [cells for row in rows for cells in _readme_lines(row, results[row.name], machines)]
    return table(README_HEADER, lines)


def _readme_lines(row: Row, runs: Sequence[Result], machines: Mapping[str, str]) -> list[Cells]:
    link = f"[{row.method}]({row.config})"
    lines: list[Cells] = [
        [f"{link}, seed {run['seed']}", *_readme_cells(run, machines)] for run in runs
    ]
    missing = row.n_seeds - len(runs)
    if missing > 0:
        noun = "seed" if missing == 1 else "seeds"
        count = f"{missing} {noun}" if not runs else f"{missing} more {noun}"
        lines.append([f"{link}, {count}", NOT_RUN, *[""] * (len(README_HEADER) - 2)])
    if published := PUBLISHED.get((row.data, row.method)):
        lines.append(_published_line(row, published))
    return lines


def _readme_cells(run: Result, machines: Mapping[str, str]) -> list[str]:
    minutes = f"{run['seconds'] / 60:.0f} min ({machines[run['machine']]})"
    cost = f"{steps_of(run)}, {minutes}"
    if run["n_relevant"] is None:
        return [f"{run['status']}, not scored", *[ABSENT] * (len(README_HEADER) - 3), cost]
    return [
        _dimensions(run),
        *(_pair(run, way) for way in WAYS),
        run_dci(run),
        _short(run["mig"]),
        f"{run['reconstruction']['nats']:.1f}",
        cost,
    ]


def steps_of(run: Result) -> str:
    """How far the run went, and how it ended where it did not finish."""
    ended = "" if run["status"] == "finished" else f" ({run['status']})"
    return f"{run['step']:,}{ended}"


def _dimensions(run: Result) -> str:
    """How many, and the factor of each: `**4**: x, y, scale, orientation`."""
    if not run["relevant_dims"]:
        return "**0**"
    names = [run["factor_of_dim"].get(str(dim), "?") for dim in run["relevant_dims"]]
    counts = {name: names.count(name) for name in names}
    shown = [name if count == 1 else f"{name} x{count}" for name, count in counts.items()]
    return f"**{run['n_relevant']}**: {', '.join(shown)}"


def _pair(run: Result, way: str) -> str:
    return ", ".join(percent(run, key, way) for key in METRICS)


def percent(run: Result, key: str, way: str) -> str:
    """Metric I or II in one of the ways."""
    ways = run["metrics"].get(METRICS[key])
    return ABSENT if ways is None else f"{100 * ways[way]['score']:.1f}"


def _short(value: float) -> str:
    return f"{value:.2f}".removeprefix("0")


def run_dci(run: Result) -> str:
    """Of a run, with a mark where it is over few images."""
    return dci_cell(run["dci_forest"]) + (MARK if run["dci_images"] <= FEW_IMAGES else "")


def dci_cell(values: Sequence[float]) -> str:
    """Disentanglement, completeness, error."""
    return " / ".join(_short(value) for value in values)


def _published_line(row: Row, published: Published) -> list[str]:
    kl = PUBLISHED_KL.get(row.method) if row.data == OVAL else None
    scores = f"{published.metric_1[0]:.1f}, {published.metric_2[0]:.1f}"
    cells = [f"{row.method}, published", str(len(kl)) if kl else "", scores]
    cells += ["", "", dci_cell(published.dci), "", "", "300,000"]
    return [f"*{cell}*" if cell else "" for cell in cells]
