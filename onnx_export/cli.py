"""`rfvae-export`: from a run folder to a folder that the service reads."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from onnx_export.errors import ExportError
from onnx_export.forms import MAX_ERROR_PERCENT, Precision, Target
from service.errors import ServiceError
from training.cli_errors import one_line_errors
from training.errors import as_typed

if TYPE_CHECKING:
    from onnx_export.request import Exported, Reduction
    from service.models.artifact import Manifest

LESS_MEMORY = "end other programs, or export on a machine with more"

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def export(
    run: Annotated[
        Path, typer.Argument(metavar="RUN", help="Run folder that `rfvae-train` wrote.")
    ],
    to: Annotated[Path, typer.Option(help="Model repository; created if missing.")],
    name: Annotated[
        str | None, typer.Option(help="Model name. Default: the name of the data.")
    ] = None,
    version: Annotated[
        int | None, typer.Option(help="Version, 1 or more. Default: one above the highest.")
    ] = None,
    names: Annotated[
        str, typer.Option(help='Factor names as NAME=DIM, e.g. "scale=3,orientation=7".')
    ] = "",
    force: Annotated[
        bool, typer.Option("--force", help="Export a run that is unfinished, broken or useless.")
    ] = False,
    pruned: Annotated[
        bool,
        typer.Option("--pruned", help="Keep the relevant dimensions only, numbered anew."),
    ] = False,
    precision: Annotated[
        Precision,
        typer.Option(
            help="float16 is for GPUs; int8 is a quarter of the size. Both lose a little."
        ),
    ] = "float32",
    max_error: Annotated[
        float,
        typer.Option(
            min=0,
            help="Percent of its range by which a reduced precision may move a value; more than "
            "that is refused.",
        ),
    ] = MAX_ERROR_PERCENT,
    target: Annotated[
        Target, typer.Option("--for", help="Processor that the layers are arranged for.")
    ] = "cpu",
    triton: Annotated[
        Path | None,
        typer.Option(help="Also add the graphs to this Triton Inference Server repository."),
    ] = None,
    sign: Annotated[
        Path | None,
        typer.Option(metavar="KEY", help="Ed25519 private key (PEM) to sign the manifest with."),
    ] = None,
) -> None:
    """Write a checked ONNX model folder: TO/NAME/VERSION appears whole or not at all."""
    from onnx_export.export import export_run
    from onnx_export.request import Request
    from onnx_export.trained_run import read_run

    request = Request(
        repository=to,
        name=name,
        version=version,
        names=names,
        force=force,
        pruned=pruned,
        precision=precision,
        max_error_percent=max_error,
        target=target,
        signing_key=sign,
        triton=triton,
    )
    _summarize(export_run(read_run(run), request))


def main(arguments: list[str] | None = None) -> None:
    """Exit 0 when written, 1 when refused, 2 on wrong usage or settings, 130 when interrupted."""
    with one_line_errors(
        *(ExportError, ServiceError), extras="cpu,train,export", less_memory=LESS_MEMORY
    ):
        app(args=arguments, prog_name="rfvae-export")


def _summarize(exported: Exported) -> None:
    manifest = exported.manifest
    console = Console()
    for warning in exported.warnings:
        console.print(f"warning: {warning}", style="yellow", markup=False, soft_wrap=True)
    table = Table("dim", "name", "relevance", "KL, nats", "mu 1 %", "mu 99 %")
    for dim in manifest.relevant:
        ends = (dim.mu_quantiles.p1, dim.mu_quantiles.p99)
        figures = (dim.relevance, dim.mean_kl, *ends)
        table.add_row(str(dim.dim), escape(dim.name), *(f"{figure:.2f}" for figure in figures))
    console.print(table)
    lines = _checks(manifest) if exported.reduction is None else _costs(exported.reduction)
    lines += [f"Wrote {exported.folder}", f"Next: rfvae-serve check {as_typed(exported.folder)}"]
    console.print("\n".join(lines), highlight=False, markup=False, soft_wrap=True)


def _checks(manifest: Manifest) -> list[str]:
    parity, parts = manifest.parity, "pixels" if manifest.vector is None else "columns"
    return [
        f"torch and ONNX Runtime agree: mu {parity.mu:.1e}, logvar {parity.logvar:.1e}, "
        f"{parts} {parity.image:.1e} (at most {parity.tolerance:g})."
    ]


def _costs(reduction: Reduction) -> list[str]:
    from onnx_export.loss import describe

    speed = {"encoder": reduction.speed.encoder, "decoder": reduction.speed.decoder}
    return [
        describe(reduction.loss),
        *(
            f"Speed here, one thread: {name} {after:.0f}/s, float32 {before:.0f}."
            for name, (before, after) in speed.items()
        ),
    ]
