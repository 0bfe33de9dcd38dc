"""MODEL_CARD.md: where the model comes from, what it found, how good it is, what it cannot do."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from onnx_export.facts import public_config
from onnx_export.markdown import table
from onnx_export.scores import score_section
from onnx_export.sweeps import Sweep, sweep_section
from onnx_export.trained_run import TrainedRun
from service.models.artifact import Dimension, Manifest
from training.config_file import config_toml

_SEAM = (
    "Angles form a circle and a dimension is a line: where one holds them all there is a seam, and "
    "two pictures whose angles lie just on either side of it can get values at opposite ends of "
    "the range; where two share the circle, neither alone says the angle. What a sweep does is "
    "measured above."
)
_OVALS = (
    "An ellipse looks the same after half a turn. The data holds orientations over a full turn, "
    "and those about half a turn apart look alike: the orientation factor says the angle up to "
    f"half a turn, not which of the two it was. {_SEAM}"
)
_SHAPES = (
    "A square looks the same after a quarter turn, an ellipse after half a turn, a heart after a "
    "whole one only. The data holds orientations over a full turn for each shape, and those about "
    "so far apart look alike: the orientation factor says a square's angle up to a quarter turn "
    f"and an ellipse's up to half a turn. {_SEAM}"
)
_TRAVERSALS = {
    True: "Latent traversals, most relevant dimension first",
    False: "How each dimension's sweep moves each column, most relevant dimension first",
}
DATA_LIMITS = {
    **dict.fromkeys(("oval-dsprites", "color-oval-dsprites"), _OVALS),
    **dict.fromkeys(("dsprites", "color-dsprites", "noisy-dsprites"), _SHAPES),
}


def model_card(
    run: TrainedRun,
    manifest: Manifest,
    *,
    pictures: Iterable[str],
    warnings: Sequence[str] = (),
    notes: Sequence[str] = (),
    sweeps: Sequence[Sweep] = (),
) -> str:
    """Write the card as Markdown.

    Args:
        run: the training.
        manifest: complete but for its list of files.
        pictures: names of the PNG files that lie beside the card.
        warnings: what spoke against the export and was overruled with `--force`.
        notes: in which way this model is not the plain one.
        sweeps: what sweeping each relevant dimension was measured to do.
    """
    shown = set(pictures)
    sections = [
        _title(manifest),
        _warnings(warnings),
        *notes,
        _picture("traversal.png", _TRAVERSALS[manifest.vector is None], shown),
        _columns(manifest),
        _training(run, manifest),
        _factors(manifest),
        _picture("relevance.png", "Relevance and KL by dimension", shown),
        _disagreements(run.report["disagreements"]),
        sweep_section(sweeps),
        score_section(run.evaluation, before_pruning=run.is_pruned),
        _checks(manifest),
        _limits(run, _words(manifest)),
        _settings(run),
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def _title(manifest: Manifest) -> str:
    names = ", ".join(dim.name for dim in manifest.relevant)
    return (
        f"# {manifest.name}, version {manifest.version}\n\n"
        f"Encodes and decodes {_samples(manifest)}. Objective: "
        f"{manifest.training.objective.upper()}. Of {manifest.latent_dim} latent dimensions it "
        f"found **{len(manifest.relevant_dims)} relevant**: {names or 'none'}."
    )


class _Words(NamedTuple):
    sample: str
    article: str
    parts: str


def _words(manifest: Manifest) -> _Words:
    if manifest.vector is None:
        return _Words("image", "an", "pixels")
    return _Words("row", "a", "columns")


def _samples(manifest: Manifest) -> str:
    spec = manifest.image
    if spec is None:
        return f"rows of {manifest.sample.shape[0]} numbers"
    shape = f"{spec.channels} x {spec.height} x {spec.width} (channels, height, width)"
    return f"images of {shape}, {spec.polarity.replace('_', ' ')}"


def _columns(manifest: Manifest) -> str:
    """What a model of rows takes; the standardization is inside its graphs."""
    vector = manifest.vector
    if vector is None:
        return ""
    rows = [
        (name, f"{offset:.6g}", f"{scale:.6g}")
        for name, offset, scale in zip(vector.columns, vector.offset, vector.scale, strict=True)
    ]
    return (
        f"## Columns\n\n{table(('column', 'offset', 'scale'), rows)}\n\nRows go in and come out "
        "in these columns' own units; the model sees (value - offset) / scale."
    )


def _warnings(warnings: Sequence[str]) -> str:
    if not warnings:
        return ""
    lines = "\n".join(f"- {warning}" for warning in warnings)
    return f"## Exported with `--force`\n\n{lines}"


def _picture(name: str, caption: str, shown: set[str]) -> str:
    return f"![{caption}]({name})\n\n*{caption}.*" if name in shown else ""


def _training(run: TrainedRun, manifest: Manifest) -> str:
    facts, samples = manifest.training, f"{_words(manifest).sample}s"
    rows = {
        "command": _command(run),
        "data": f"{facts.data_name} ({facts.data_source}), {facts.n_images:,} {samples}",
        "data SHA-256": f"`{facts.data_sha256}`",
        "objective": f"{facts.objective}, {manifest.likelihood} likelihood{_scale(manifest)}",
        "seed": str(facts.seed),
        "steps": f"{facts.steps:,}",
        "time taken": f"{_duration(facts.seconds)} on `{run.info['device']}`",
        "finished": manifest.created,
        "code, torch": f"{facts.code_version}, {facts.torch_version}",
    }
    return "## Training\n\n" + table(("", ""), rows.items())


def _command(run: TrainedRun) -> str:
    command = "`rfvae-train run config.toml --out RUN`, with the settings below"
    if run.pruned_from is None:
        return command
    return f"{command} and `latent_dim = {run.pruned_from['latent_dim']}`, then `rfvae-train prune`"


def _scale(manifest: Manifest) -> str:
    """Of a Gaussian: what its pixels or standardized columns are thought to scatter by."""
    scale = manifest.likelihood_scale
    return f" of standard deviation {scale:.3g}" if manifest.likelihood == "gaussian" else ""


def _factors(manifest: Manifest) -> str:
    header = (
        "dim",
        "name",
        "relevant",
        "relevance",
        "mean KL, nats",
        "mu 1 % … 99 %",
        "sensitivity",
    )
    rows = [_factor_row(dim) for dim in manifest.relevant_first]
    words = _words(manifest)
    return (
        f"## What it found\n\n{_changes(manifest)}{table(header, rows)}\n\n"
        f"Rule: {manifest.relevance_rule} Ranges are quantiles of mu over the training "
        f"{words.sample}s; sensitivity is how much the {words.parts} change with the dimension."
    )


def _changes(manifest: Manifest) -> str:
    """What each relevant dimension does, in the words of the report."""
    found = [dim for dim in manifest.relevant if dim.changes]
    lines = [f"- **{dim.name}**: {', '.join(dim.changes)}" for dim in found]
    if not lines:
        return ""
    return "From the low to the high end of its sweep, as measured:\n\n" + "\n".join(lines) + "\n\n"


def _factor_row(dim: Dimension) -> tuple[str, ...]:
    low, high = dim.mu_quantiles.p1, dim.mu_quantiles.p99
    return (
        str(dim.dim),
        dim.name,
        "yes" if dim.relevant else "no",
        f"{dim.relevance:.3f}",
        f"{dim.mean_kl:.3f}",
        f"{low:.2f} … {high:.2f}",
        f"{dim.decoder_sensitivity:.4f}",
    )


def _disagreements(texts: Sequence[str]) -> str:
    if not texts:
        return ""
    return "Where the votes disagree:\n\n" + "\n".join(f"- {text}" for text in texts)


def _checks(manifest: Manifest) -> str:
    parity = manifest.parity
    batches = ", ".join(str(batch) for batch in parity.batches)
    rows = [(name, f"{getattr(parity, name):.1e}") for name in ("mu", "logvar", "image")]
    unit = "; rows in units of each column's scale" if manifest.vector is not None else ""
    return (
        f"## Checks\n\nLargest difference between torch and ONNX Runtime, batches of {batches} "
        f"(at most {parity.tolerance:g} is allowed{unit}):\n\n"
        f"{table(('output', 'difference'), rows)}"
    )


def _limits(run: TrainedRun, words: _Words) -> str:
    lines = [
        f"It knows the kind of {words.sample} it was trained on and nothing else. The service's "
        f"novelty figure says when {words.article} {words.sample} is unlike the training data; "
        "values far outside the ranges above mean the same.",
        "A factor is what varies in the data, found without labels. Its name was given by a "
        "person or is its number; neither says that it causes anything.",
        f"Values are posterior means: comparable between {words.sample}s of one version, not "
        "between versions.",
    ]
    if run.config.data.name in DATA_LIMITS:
        lines.append(DATA_LIMITS[run.config.data.name])
    return "## Limits\n\n" + "\n".join(f"- {line}" for line in lines)


def _settings(run: TrainedRun) -> str:
    settings = config_toml(public_config(run.config)).strip()
    return f"## Settings\n\n`config.toml`:\n\n```toml\n{settings}\n```"


def _duration(seconds: float) -> str:
    minutes, hours = divmod(round(seconds / 60), 60)[::-1]
    if not hours:
        return f"{minutes} min" if minutes else f"{seconds:.0f} s"
    return f"{hours} h {minutes} min"
