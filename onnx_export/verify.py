"""Compares torch with ONNX Runtime, through the code that will serve the graphs."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from onnx_export.errors import ExportError
from onnx_export.inputs import BATCHES, CheckInputs, Floats, Samples
from service.models.artifact import Parity, VectorSpec, decoded_errors
from training.data.standardization import Standardization
from training.networks import VAE

TOLERANCE = 1e-4


class Engine(Protocol):
    """What is needed of `service.runtime.engine.Engine`."""

    def encode(self, images: Samples, /) -> tuple[Floats, Floats]: ...

    def decode(self, z: Floats, /) -> Floats: ...


@dataclass(frozen=True)
class Deviation:
    """Largest difference of one output in one batch, and the row that has it."""

    output: str
    kind: str
    batch: int
    row: int
    max_abs_error: float


class Reference:
    """The torch model with arrays in and out, rows of numbers in the data's own units."""

    def __init__(self, vae: VAE, vectors: Standardization | None = None) -> None:
        self._vae = vae
        self._units = None
        if vectors is not None:
            units = (vectors.offset, vectors.scale)
            self._units = tuple(torch.from_numpy(values).float() for values in units)

    @torch.inference_mode()
    def encode(self, images: Samples) -> tuple[Floats, Floats]:
        samples = torch.from_numpy(images).to(torch.float32)
        if self._units is None:
            samples = samples / 255.0
        else:
            offset, scale = self._units
            samples = (samples - offset) / scale
        mu, logvar = self._vae.encode(samples)
        return mu.numpy(), logvar.numpy()

    @torch.inference_mode()
    def decode(self, z: Floats) -> Floats:
        samples = self._vae.decode(torch.from_numpy(z))
        if self._units is not None:
            offset, scale = self._units
            samples = samples * scale + offset
        decoded: Floats = samples.numpy()
        return decoded


def measure(
    reference: Engine,
    engine: Engine,
    inputs: Iterable[CheckInputs],
    vector: VectorSpec | None = None,
) -> list[Deviation]:
    """Compare both on every kind of input and in batches of every size.

    Args:
        vector: of a model of rows: decoded columns are compared in units of their scale.
    """
    return [
        deviation
        for given in inputs
        for batch in BATCHES
        for deviation in _measure_batch(reference, engine, given, batch, vector)
    ]


def require_parity(deviations: Sequence[Deviation]) -> None:
    """Let pass what agrees.

    Raises:
        ExportError: an output differs by more than `TOLERANCE`; the text says which, in which
            batch, and by how much.
    """
    wrong = [found for found in deviations if not found.max_abs_error <= TOLERANCE]
    if not wrong:
        return
    places = "\n".join(
        f"  `{found.output}`: {found.max_abs_error:.2g} in row {found.row} of a batch of "
        f"{found.batch} {found.kind} inputs"
        for found in wrong
    )
    raise ExportError(
        f"torch and ONNX Runtime must agree within {TOLERANCE:g}: nothing was written, the largest "
        f"differences are\n{places}"
    )


def require_finite(deviations: Sequence[Deviation]) -> None:
    """Let pass what gives numbers where torch does.

    Raises:
        ExportError: an output has NaN or infinity, as where float16 overflows.
    """
    broken = sorted({found.output for found in deviations if not np.isfinite(found.max_abs_error)})
    if broken:
        raise ExportError(
            "a reduced precision must give finite numbers where float32 does: nothing was written, "
            f"got NaN or infinity in {', '.join(f'`{name}`' for name in broken)}; use float32"
        )


def parity(deviations: Sequence[Deviation], tolerance: float = TOLERANCE) -> Parity:
    """Sum up for the manifest."""
    return Parity(
        mu=_largest(deviations, "mu"),
        logvar=_largest(deviations, "logvar"),
        image=_largest(deviations, "image"),
        batches=list(BATCHES),
        tolerance=tolerance,
    )


def _measure_batch(
    reference: Engine,
    engine: Engine,
    given: CheckInputs,
    batch: int,
    vector: VectorSpec | None,
) -> list[Deviation]:
    images = given.images[:batch]
    expected_mu, expected_logvar = reference.encode(images)
    mu, logvar = engine.encode(images)
    latents = expected_mu if given.latents is None else given.latents[:batch]
    pairs = {
        "mu": (expected_mu, mu),
        "logvar": (expected_logvar, logvar),
        "image": (reference.decode(latents), engine.decode(latents)),
    }
    return [
        Deviation(
            output,
            given.kind,
            batch,
            *_worst_row(expected, got, vector if output == "image" else None),
        )
        for output, (expected, got) in pairs.items()
    ]


def _worst_row(expected: Floats, got: Floats, vector: VectorSpec | None) -> tuple[int, float]:
    if expected.shape != got.shape:
        raise ExportError(
            f"torch and ONNX Runtime must give the same shape: got {expected.shape} and {got.shape}"
        )
    rows = _row_errors(expected, got, vector)
    worst = int(np.argmax(rows))
    return worst, float(rows[worst])


def _row_errors(expected: Floats, got: Floats, vector: VectorSpec | None) -> NDArray[np.float64]:
    """Where torch itself gives no number (a broken run, forced) there is nothing to compare."""
    comparable = np.isfinite(expected)
    with np.errstate(invalid="ignore"):
        errors = decoded_errors(expected, got, vector)
    errors[comparable & ~np.isfinite(got)] = np.inf
    errors[~comparable] = 0.0
    rows: NDArray[np.float64] = errors.reshape(len(errors), -1).max(axis=1)
    return rows


def _largest(deviations: Sequence[Deviation], output: str) -> float:
    largest = max(found.max_abs_error for found in deviations if found.output == output)
    return float(f"{largest:.2g}")
