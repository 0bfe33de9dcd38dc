"""rfvae-train: train a model, go on with it, and say which factors it found."""

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.console import Console

from training.cli_errors import one_line_errors
from training.cpu import keep_freed_memory, wait_politely
from training.errors import as_typed

if TYPE_CHECKING:
    from training.config import Config

app = typer.Typer(
    help="Train Relevance Factor VAEs and find which factors vary in a set of images.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

INTERRUPTED = 130
LESS_MEMORY = "lower `run.batch_size`, `model.hidden_units`, `model.latent_dim` or `data.size`"
RunArgument = Annotated[Path, typer.Argument(metavar="RUN", help="Folder made by `run --out`.")]


@app.command()
def run(
    config: Annotated[Path | None, typer.Argument(metavar="CONFIG", help="TOML file.")] = None,
    *,
    data: Annotated[
        Path | None,
        typer.Option(
            help="Folder of images, array file or table; what CONFIG leaves out is found."
        ),
    ] = None,
    out: Annotated[Path, typer.Option(help="New or empty folder for the run.")],
    steps: Annotated[int | None, typer.Option(help="Number of steps; short for run.steps.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed; short for run.seed.")] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="SECTION.KEY=VALUE", help="Change a setting."),
    ] = None,
) -> None:
    """Train a model into a new folder."""
    from training.config_file import load_config
    from training.runs import start_run

    if config is None and data is None:
        raise typer.BadParameter("give a CONFIG file, or --data with a folder of images or a file")

    given = {"run.steps": ("--steps", steps), "run.seed": ("--seed", seed)}
    _require_said_once(overrides or [], given | {"data.path": ("--data", data)})
    shortcuts = [
        f"run.{key}={value}"
        for key, value in (("steps", steps), ("seed", seed))
        if value is not None
    ]
    changes = [*(overrides or []), *shortcuts]
    if data is not None:
        settings = _choose(config, data, changes)
    else:
        assert config is not None
        settings = load_config(config, changes)
    _end(start_run(settings, out, console=_console()), out)


@app.command()
def resume(
    run_dir: RunArgument,
    steps: Annotated[int | None, typer.Option(min=1, help="Train up to this step instead.")] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="SECTION.KEY=VALUE",
            help="Change where and how it goes on: run.threads, run.device, data.path and the "
            "like; what it computes stays.",
        ),
    ] = None,
) -> None:
    """Go on with a run that was stopped or killed, as if it had never been."""
    from training.runs import resume_run

    changes = overrides or []
    _require_said_once(changes, {"run.steps": ("--steps", steps)})
    _end(resume_run(run_dir, steps=steps, overrides=changes, console=_console()), run_dir)


@app.command()
def evaluate(
    run_dir: RunArgument,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the votes.")] = 0,
    votes: Annotated[
        int, typer.Option(min=1, help="Number of votes of each metric, one a factor at least.")
    ] = 800,
    every: Annotated[
        bool,
        typer.Option("--all", help="SAP, modularity, explicitness, IRS, beta-VAE score as well."),
    ] = False,
) -> None:
    """Score how well the dimensions match the known factors: Metrics I and II, DCI and MIG."""
    from training.evaluate import evaluate_run

    evaluate_run(run_dir, seed=seed, n_votes=votes, every_metric=every)
    _say(f"Next: rfvae-train report {as_typed(run_dir)}")


@app.command()
def report(
    run_dir: RunArgument,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the sample of images.")] = 0,
) -> None:
    """Say which dimensions are relevant and why, and draw them."""
    from training.report import report_run

    report_run(run_dir, seed=seed)
    _say(f"Next: rfvae-export {as_typed(run_dir)} --to models")


@app.command()
def compare(
    run_dirs: Annotated[
        list[Path], typer.Argument(metavar="RUN...", help="Two or more runs on the same images.")
    ],
    out: Annotated[
        Path | None, typer.Option(help="Folder for compare.json and the pictures.")
    ] = None,
    min_correlation: Annotated[
        float, typer.Option(min=0, max=1, help="Below it two dimensions are not the same one.")
    ] = 0.75,
    by: Annotated[
        Literal["spearman", "pearson"], typer.Option(help="Correlation of ranks, or of values.")
    ] = "spearman",
    seed: Annotated[int, typer.Option(min=0, help="Seed of the sample of images.")] = 0,
) -> None:
    """Match the dimensions of several runs, and say how often each factor is found."""
    from training.compare import compare_runs
    from training.metrics.matching import Matching

    matching = Matching(similarity=by, min_correlation=min_correlation)
    compare_runs(run_dirs, out=out, matching=matching, seed=seed)


@app.command()
def prune(
    run_dir: RunArgument,
    out: Annotated[Path, typer.Option(help="New or empty folder for the smaller run.")],
    max_loss: Annotated[
        float,
        typer.Option(
            min=0,
            max=1,
            help="Share of what the code explains that may be lost; above it nothing is written.",
        ),
    ] = 0.02,
    keep: Annotated[
        list[int] | None,
        typer.Option(
            metavar="DIM", help="Keep this dimension; again for more. [the relevant ones]"
        ),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Write it whatever it loses, or if not finished.")
    ] = False,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the sample of images.")] = 0,
) -> None:
    """Drop the nuisance dimensions, and say what the reconstructions lose."""
    from training.pruned_run import Limits, prune_run

    limits = Limits(max_loss=max_loss, keep=keep or (), force=force)
    prune_run(run_dir, out, limits=limits, seed=seed)
    _say(f"Saved in {out}. Next: rfvae-train report {as_typed(out)}")


@app.command()
def datasets(
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="Set to look at.")] = None,
    out: Annotated[Path | None, typer.Option(help="PNG file for a sheet of its samples.")] = None,
    size: Annotated[int, typer.Option(min=1, help="Pixels across.")] = 64,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the samples.")] = 0,
) -> None:
    """List the sets of images that this program draws, or draw a sheet of one."""
    from training.config import DataConfig
    from training.sample_sheet import describe_sets, draw_sheet

    if out is not None and name is None:
        raise typer.BadParameter("a sheet needs the NAME of a set", param_hint="--out")
    for line in describe_sets(name):
        _say(line)
    if out is not None:
        draw_sheet(DataConfig(name=name or "", size=size), out, seed=seed)
        _say(f"Drawn: {out}")
    elif name is None:
        _say("Next: rfvae-train run training/configs/oval-dsprites.toml --out runs/oval-dsprites")


def _require_said_once(overrides: list[str], given: Mapping[str, tuple[str, object]]) -> None:
    """Refuse a setting that an option and `--set` both give: one would win in silence."""
    names = {override.partition("=")[0].strip() for override in overrides}
    for name, (option, value) in given.items():
        if value is not None and name in names:
            raise typer.BadParameter(
                f"{option} and --set {name} give one setting twice; leave one out"
            )


def main(arguments: list[str] | None = None) -> None:
    """Entry point: errors that a person can cure become one line on stderr."""
    wait_politely()
    keep_freed_memory()
    with one_line_errors(extras="cpu,train", less_memory=LESS_MEMORY):
        app(args=arguments, prog_name="rfvae-train")


class _Console(Console):
    """Falls silent where nobody reads any more, as after `| head`: training goes on."""

    def on_broken_pipe(self) -> None:
        self.quiet = True
        nothing = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nothing, sys.stdout.fileno())  # what is still in the buffer goes there


def _console() -> Console:
    return _Console(soft_wrap=False)


def _say(message: str) -> None:
    _console().print(message, markup=False, highlight=False, soft_wrap=True)


def _choose(config: Path | None, data: Path, changes: list[str]) -> "Config":
    from training.auto import choose_config
    from training.config_file import read_tables

    choice = choose_config(data, read_tables(config, changes))
    for line in choice.lines:
        _say(line[0].upper() + line[1:])
    return choice.config


def _end(status: str, folder: Path) -> None:
    from training.run_folder import RunFolder

    if status == "followed":
        return
    if status == "interrupted":
        _say(f"Stopped and saved. Next: rfvae-train resume {as_typed(folder)}")
        raise typer.Exit(INTERRUPTED)
    has_factors = RunFolder(folder).read_info()["data"]["factor_names"] is not None
    following = "evaluate" if has_factors else "report"
    _say(f"Saved in {folder}. Next: rfvae-train {following} {as_typed(folder)}")
