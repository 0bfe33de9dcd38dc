"""The results table: reads run folders, keeps one JSON file a run, and writes what is read of them.

    make row ROW=oval-dsprites SEED=1     # trains, reports and evaluates into RUNS/oval-dsprites-s1
    make results RUNS=runs

A run is expected in RUNS/NAME-sSEED, trained with training/configs/NAME.toml. Rows without a run
keep the JSON file of an earlier one; rows without either stand in the table as not run. A run that
failed or found another number of dimensions stays in the table like any other.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from results_figure import draw, made_from, missing, source_of
from results_page import page
from results_rows import ROWS
from results_runs import ROOT, RunNotReadyError, RunRefusedError, load, refresh
from results_table import Results, readme_section

BEGIN, END = "<!-- results: made by `make results` -->", "<!-- end of results -->"


@dataclass(frozen=True)
class Project:
    """Where the results are kept and shown."""

    root: Path

    @property
    def results(self) -> Path:
        """One JSON file and one picture a run."""
        return self.root / "benchmarks" / "results"

    @property
    def readme(self) -> Path:
        """With the table between its marks."""
        return self.root / "README.md"

    @property
    def page(self) -> Path:
        """With all figures."""
        return self.root / "docs" / "results.md"

    @property
    def figure(self) -> Path:
        """The comparison of methods."""
        return self.root / "docs" / "images" / "comparison.png"


def update(project: Project, runs: Path) -> list[RunRefusedError]:
    """Take in the run folders, and write table, page and picture.

    Returns:
        Why runs or files were left out.
    """
    problems = refresh(runs, project.results, root=project.root)
    results, stale = load(project.results, root=project.root)
    _draw(project, results)
    readme = project.readme.read_text(encoding="utf-8")
    project.readme.write_text(insert(readme, section(project, results)), encoding="utf-8")
    pictures = sorted(path.stem for path in project.results.glob("*.png"))
    project.page.write_text(page(results, pictures), encoding="utf-8")
    return problems + stale


def section(project: Project, results: Results) -> str:
    """The README's table, with the picture where there is one."""
    figure = project.figure.relative_to(project.root) if project.figure.is_file() else None
    return readme_section(results, figure=figure)


def _draw(project: Project, results: Results) -> None:
    needed = missing(results, project.results)
    if needed:
        project.figure.unlink(missing_ok=True)
        print(f"no {project.figure.name} yet; it needs {', '.join(needed)}")
    elif made_from(project.figure) != source_of(results, project.results):
        draw(results, project.results, project.figure)


def insert(readme: str, content: str) -> str:
    """The README with `content` between the marks of the results.

    Raises:
        SystemExit: The marks are not there.
    """
    before, begin, rest = readme.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise SystemExit(f"error: the README must hold the lines `{BEGIN}` and `{END}`")
    return f"{before}{BEGIN}\n{content}\n{END}{after}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Collect, write, and say what is missing; 1 if a run was left out that is ready."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=Path, default=ROOT / "runs", help="folder of run folders")
    parser.add_argument("--root", type=Path, default=ROOT, help="the project that is written to")
    options = parser.parse_args(arguments)
    project = Project(options.root)
    problems = update(project, options.runs)
    results, _ = load(project.results, root=project.root)
    for row in ROWS:
        seeds = ", ".join(str(run["seed"]) for run in results[row.name]) or "not run"
        print(f"{row.name:22} {'seeds ' if results[row.name] else ''}{seeds}")
    for problem in problems:
        print(f"left out: {problem}", file=sys.stderr)
    return int(any(not isinstance(problem, RunNotReadyError) for problem in problems))


if __name__ == "__main__":
    sys.exit(main())
