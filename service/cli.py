"""`rfvae-serve`: serve models over HTTP, encode in bulk, check and measure models."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from service.auth import hash_of, make_key
from service.errors import ServiceError
from service.observability.logging import configure_logging
from service.settings import ENV_PREFIX, Settings, SettingsError, load_settings

app = typer.Typer(
    name="rfvae-serve",
    help="Serve Relevance Factor VAEs over HTTP on ONNX Runtime.",
    epilog="Exit codes: 0 ended well, 1 failed, 2 wrong usage, 130 interrupted.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

FAILED, WRONG_USAGE, INTERRUPTED = 1, 2, 130


def main() -> None:
    """Entry point of the command."""
    app()


def _text(name: str) -> str:
    field = Settings.model_fields[name]
    return f"{field.description} (RFVAE_{name.upper()})"


# Options that several commands take.
Repositories = Annotated[
    list[Path] | None,
    typer.Option("--models", help=f"May be given several times. {_text('model_repository')}"),
]
ModelName = Annotated[str | None, typer.Option(help="Default: as the service chooses.")]
ModelVersion = Annotated[int | None, typer.Option(help="Default: the highest.")]
DeviceName = Annotated[str | None, typer.Option(help=_text("device"))]
Lanes = Annotated[int | None, typer.Option(help=_text("lanes"))]
Threads = Annotated[int | None, typer.Option(help=_text("threads"))]


@app.command()
def serve(
    host: Annotated[str | None, typer.Option(help=_text("host"))] = None,
    port: Annotated[int | None, typer.Option(help=_text("port"))] = None,
    processes: Annotated[int | None, typer.Option(help=_text("processes"))] = None,
    model_repository: Repositories = None,
    default_model: Annotated[str | None, typer.Option(help=_text("default_model"))] = None,
    device: DeviceName = None,
    lanes: Lanes = None,
    threads: Threads = None,
    log_format: Annotated[str | None, typer.Option(help=_text("log_format"))] = None,
    access_log: Annotated[str | None, typer.Option(help=_text("access_log"))] = None,
) -> None:
    """Serve the models until a signal comes; `rfvae-serve settings` lists all that can be set."""
    settings = _settings(**locals())
    from service.run import run  # heavy: not for --help
    from service.transport.listening import AddressError

    configure_logging(settings.log_format, settings.log_level)
    try:
        run(settings, say=typer.echo)
    except SettingsError as error:
        raise _wrong_usage(error) from None
    except (AddressError, ServiceError) as error:
        raise _failure(str(error)) from None


@app.command()
def check(
    folder: Annotated[Path, typer.Argument(help="A model folder: REPOSITORY/NAME/VERSION.")],
    device: DeviceName = None,
) -> None:
    """Check a model folder as the service would: manifest, place, hashes, shapes, self-test."""
    settings = _settings(device=device)
    configure_logging(settings.log_format, "warning")
    try:
        for line in _check(folder, settings):
            typer.echo(line)
    except ServiceError as error:
        raise _failure(error.detail) from None


@app.command()
def encode(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="INPUT",
            help="A folder of images (all below it), a .npy (n, height, width[, channels]), or a "
            ".parquet with a column of image files; for a model of rows, a .csv, .npy or .parquet "
            "of its columns.",
        ),
    ],
    out: Annotated[Path, typer.Option(help="The table to write: NAME.parquet or NAME.csv.")],
    model_repository: Repositories = None,
    model: ModelName = None,
    version: ModelVersion = None,
    device: DeviceName = None,
    lanes: Lanes = None,
    image_column: Annotated[
        str, typer.Option(help="Of a Parquet file: the image files.")
    ] = "image",
    id_column: Annotated[
        str | None,
        typer.Option(help="Of a Parquet or CSV file: the ids. Default: the row's number."),
    ] = None,
    skip_damaged: Annotated[
        bool,
        typer.Option("--skip-damaged", help="Give a damaged image or row no numbers."),
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Begin again, whatever is there.")
    ] = False,
    ray: Annotated[
        bool, typer.Option("--ray", help="Spread the parts over a Ray cluster (extra `ray`).")
    ] = False,
) -> None:
    """Turn many images or rows into a table of ids, relevant factors, sigmas, percentiles, novelty.

    Ctrl-C keeps what is done; the same command goes on with it.
    """
    settings = _settings(model_repository=model_repository, device=device, lanes=lanes)
    configure_logging(settings.log_format, "warning")
    from service.bulk.command import BulkOptions, encode_all

    bulk = BulkOptions(
        source=source,
        out=out,
        model=model or settings.default_model,
        version=version,
        image_column=image_column,
        id_column=id_column,
        skip_damaged=skip_damaged,
        overwrite=overwrite,
    )
    try:
        typer.echo(encode_all(bulk, settings, on_ray=ray))
    except ServiceError as error:
        raise _failure(error.detail) from None
    except KeyboardInterrupt:
        typer.echo("stopped; the same command goes on from here", err=True)
        raise typer.Exit(INTERRUPTED) from None


@app.command()
def bench(
    model_repository: Repositories = None,
    model: ModelName = None,
    version: ModelVersion = None,
    device: DeviceName = None,
    lanes: Annotated[
        list[int] | None,
        typer.Option(
            min=0, max=256, help="May be given several times, to compare; 0 chooses. Default: 1, 0."
        ),
    ] = None,
    threads: Threads = None,
    seconds: Annotated[
        float, typer.Option(min=0.01, max=60, help="Length of one round; each figure is of three.")
    ] = 0.3,
) -> None:
    """Measure a model on this machine: rows a second of the engine and through the batcher.

    The last line is JSON.
    """
    settings = _settings(model_repository=model_repository, device=device, threads=threads)
    configure_logging(settings.log_format, "warning")
    from service.bench import bench_lines

    try:
        for line in bench_lines(settings, model, version, lanes=lanes or [1, 0], seconds=seconds):
            typer.echo(line)
    except SettingsError as error:
        raise _wrong_usage(error) from None
    except ServiceError as error:
        raise _failure(error.detail) from None
    except KeyboardInterrupt:
        raise typer.Exit(INTERRUPTED) from None


@app.command()
def key() -> None:
    """Make an API key: the key for a client, and its hash for RFVAE_API_KEY_HASHES."""
    made = make_key()
    typer.echo(f"key   {made}   give it to one client; it is kept nowhere")
    typer.echo(f"hash  {hash_of(made.encode())}")


@app.command("settings")
def list_settings() -> None:
    """List every setting: its variable, its present value, its unit, range and limit."""
    settings = _settings()
    table = Table("variable", "value", "meaning")
    for name, field in Settings.model_fields.items():
        table.add_row(
            f"{ENV_PREFIX}{name.upper()}", str(getattr(settings, name)), field.description
        )
    Console().print(table)


def _check(folder: Path, settings: Settings) -> Iterator[str]:
    from service.loading import engine_options, signatures_of
    from service.models.artifact import ArtifactError, load_golden, load_manifest, verify_files
    from service.models.repository import VERSION, version_at
    from service.models.served import require_same_name
    from service.models.signature import is_signed
    from service.runtime.engine import Engine

    signatures = signatures_of(settings)
    manifest = load_manifest(folder, signatures)
    found = version_at(folder)
    if found is not None:
        require_same_name(found, manifest)
    elif folder.resolve().name.isdecimal() and not VERSION.fullmatch(folder.resolve().name):
        raise ArtifactError(
            "a version is a number from 1 to 999999999 without zeros before it: the service would "
            f"pass over `{folder}`; rename the folder"
        )
    yield (
        f"manifest   ok  {manifest.name} version {manifest.version}, format "
        f"{manifest.format_version}, {len(manifest.relevant_dims)} relevant of "
        f"{manifest.latent_dim} dimensions"
    )
    if signatures is not None:
        yield "signature  ok  " + ("by a key of RFVAE_PUBLIC_KEYS" if is_signed(folder) else "none")
    verify_files(folder, manifest)
    size_bytes = sum(entry.size_bytes for entry in manifest.files.values())
    yield f"files      ok  {len(manifest.files)} files, {size_bytes} bytes, hashes agree"
    engine = Engine.load(folder, manifest, engine_options(settings))
    yield f"shapes     ok  on {engine.providers[0]}"
    result = engine.self_test(load_golden(folder))
    yield (
        f"self-test  ok  largest errors: mu {result.mu:.2g}, logvar {result.logvar:.2g}, "
        f"image {result.image:.2g}"
    )


def _settings(**options: Any) -> Settings:
    """What was not said, None or an empty list, is left to the environment; 0 was said."""
    said = {name: value for name, value in options.items() if value not in (None, [])}
    try:
        return load_settings(**said)
    except SettingsError as error:
        raise _wrong_usage(error) from None


def _wrong_usage(error: SettingsError) -> typer.Exit:
    typer.echo(f"error: {error}", err=True)
    return typer.Exit(WRONG_USAGE)


def _failure(text: str) -> typer.Exit:
    typer.echo(f"error: {text}", err=True)
    return typer.Exit(FAILED)
