"""What a reduced precision costs, in units that say whether it matters."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from onnx_export.errors import ExportError
from onnx_export.inputs import Samples
from onnx_export.verify import Engine
from service.models.artifact import Dimension

SPEED_BATCH = 32
SPEED_ROUNDS = 9
SMALLEST_RANGE = 1e-30  # of a constant dimension: any error is too large for it


@dataclass(frozen=True)
class LatentLoss:
    """Largest error of one relevant latent over the images.

    Attributes:
        std: in standard deviations of the image's own posterior.
        percent: of the range of the training data, from the 1 % to the 99 % quantile of mu.
    """

    name: str
    std: float
    percent: float


@dataclass(frozen=True)
class Loss:
    """Errors that were added; pixels in percent of full brightness, columns of their range.

    Attributes:
        pixel_mean: mean over the pixels of the worst image, or the columns of the worst row.
        pixel_max: of the worst pixel of all, or of the worst number.
        n_images: how many were compared.
        is_image: whether these are pixels.
    """

    latents: Sequence[LatentLoss]
    pixel_mean: float
    pixel_max: float
    n_images: int
    is_image: bool = True


@dataclass(frozen=True)
class Speed:
    """Images a second before and after, one thread, this machine."""

    encoder: tuple[float, float]
    decoder: tuple[float, float]


def measure_loss(
    reference: Engine,
    engine: Engine,
    images: Samples,
    *,
    dimensions: Sequence[Dimension],
    is_image: bool = True,
) -> Loss:
    """Compare with torch on images that were not used to calibrate.

    Args:
        dimensions: the relevant ones.
        is_image: False for rows, whose columns are taken in percent of their range, from the 1 %
            to the 99 % quantile of `images`.
    """
    expected, logvar = reference.encode(images)
    errors = np.abs(engine.encode(images)[0].astype(np.float64) - expected)  # (batch, latent_dim)
    in_std = errors / np.exp(0.5 * logvar.astype(np.float64))
    pixels = np.abs(engine.decode(expected).astype(np.float64) - reference.decode(expected))
    if not is_image:
        low, high = np.percentile(images.astype(np.float64), (1, 99), axis=0)
        pixels /= np.maximum(high - low, SMALLEST_RANGE)
    return Loss(
        latents=[
            LatentLoss(
                name=dim.name,
                std=float(in_std[:, dim.dim].max()),
                percent=float(100 * errors[:, dim.dim].max() / _range(dim)),
            )
            for dim in dimensions
        ],
        pixel_mean=float(100 * pixels.reshape(len(images), -1).mean(axis=1).max()),
        pixel_max=float(100 * pixels.max()),
        n_images=len(images),
        is_image=is_image,
    )


def require_small(loss: Loss, limit_percent: float) -> None:
    """Let pass a loss that is below the limit.

    Raises:
        ExportError: a latent moves by more than `limit_percent` of its range, or an image by more
            than `limit_percent` of full brightness on average.
    """
    found = [(f"`{latent.name}`", latent.percent) for latent in loss.latents]
    what = "an image's pixels" if loss.is_image else "a row's columns"
    found.append((f"the mean over {what}", loss.pixel_mean))
    wrong = [
        f"{name} by {percent:.3g} %" for name, percent in found if not percent <= limit_percent
    ]
    if wrong:
        raise ExportError(
            f"a reduced precision may move values by {limit_percent:g} % of their range: it moves "
            f"{', '.join(wrong)}; nothing was written; use float32, or allow more with "
            "`--max-error`"
        )


def describe(loss: Loss) -> str:
    """The loss as the sentences of a model card."""
    latents = ", ".join(
        f"{latent.name} by {latent.std:.2g} posterior standard deviations ({latent.percent:.2g} % "
        "of its range)"
        for latent in loss.latents
    )
    sample, parts, whole = "row", "columns", "their range"
    if loss.is_image:
        sample, parts, whole = "image", "pixels", "full brightness"
    moved = f"{latents}; " if latents else ""
    return (
        f"Largest change against float32 over {loss.n_images} {sample}s not used to calibrate: "
        f"{moved}{parts} by {loss.pixel_max:.2g} % of {whole}, {loss.pixel_mean:.2g} % on "
        f"average in the worst {sample}."
    )


def measure_speed(before: Engine, after: Engine, images: Samples) -> Speed:
    """Median of alternating rounds of one batch."""
    batch = images[:SPEED_BATCH]
    z = before.encode(batch)[0]
    return Speed(
        encoder=_rates(lambda: before.encode(batch), lambda: after.encode(batch), len(batch)),
        decoder=_rates(lambda: before.decode(z), lambda: after.decode(z), len(batch)),
    )


def _rates(
    before: Callable[[], object], after: Callable[[], object], rows: int
) -> tuple[float, float]:
    seconds = [(_time(before), _time(after)) for _ in range(SPEED_ROUNDS)]
    first, second = (float(np.median(column)) for column in zip(*seconds, strict=True))
    return rows / first, rows / second


def _time(run: Callable[[], object]) -> float:
    started = time.perf_counter()
    run()
    return time.perf_counter() - started


def _range(dim: Dimension) -> float:
    return max(dim.mu_quantiles.p99 - dim.mu_quantiles.p1, SMALLEST_RANGE)
