"""One model's two graphs, opened, checked against the manifest and ready to run.

A run lets go of the GIL and may overlap with other runs on the same session, so lanes are threads
that call `encode` and `decode`; the sessions are shared, and so are the weights.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from service.errors import ArtifactError, DeviceUnavailable, one_line
from service.events import log_event
from service.models.artifact import Golden, Manifest, decoded_errors
from service.runtime.graphs import Outputs, Samples
from service.runtime.opening import EngineOptions, OpenedModel, open_model
from service.runtime.sessions import resolve_device

Floats = npt.NDArray[np.float32]

TOLERANCE = 1e-4  # of the self-test; float32 on another processor stays far below


@dataclass(frozen=True)
class SelfTest:
    """Largest absolute errors against the golden samples."""

    mu: float
    logvar: float
    image: float


class Engine:
    """Runs the encoder and the decoder of one model; thread-safe.

    Attributes:
        providers: the providers in use, the first one runs the graphs.
        plan: how many lanes should call this engine, and with how many threads each runs.
        batch_sizes: what batches are padded to; empty where any size is as good.
        most_at_once: rows that a graph sees in one run; None for as many as a batch has.
    """

    def __init__(self, manifest: Manifest, opened: OpenedModel) -> None:
        self._manifest = manifest
        self._encode = opened.encoder.run
        self._decode = opened.decoder.run
        self._captured = (opened.encoder.captured, opened.decoder.captured)
        self.plan = opened.plan
        self.providers = list(opened.encoder.providers)
        self.batch_sizes = opened.batch_sizes
        self.most_at_once = opened.most_at_once

    @classmethod
    def load(cls, folder: Path, manifest: Manifest, options: EngineOptions) -> Engine:
        """Open both graphs of a folder whose files were verified.

        Raises:
            ArtifactError: a graph cannot be opened or does not fit the manifest.
            DeviceUnavailable: the device was asked for and is not in use; "auto" takes the CPU
                instead and logs a warning.
        """
        in_use = resolve_device(options.device)
        try:
            return cls(manifest, open_model(folder, manifest, replace(options, device=in_use)))
        except DeviceUnavailable as error:
            if options.device != "auto" or in_use == "cpu":
                raise
            log_event(logging.WARNING, "device_fallback", device="cpu", reason=error.detail)
            return cls(manifest, open_model(folder, manifest, replace(options, device="cpu")))

    def encode(self, images: Samples) -> tuple[Floats, Floats]:
        """uint8 (n, channels, height, width) to mu and logvar, float32 (n, latent_dim) each.

        A model of rows takes float32 (n, n_columns).
        """
        mu, logvar = self._encode(images)
        return mu, logvar

    def decode(self, z: Floats) -> Floats:
        """float32 (n, latent_dim) to float32 (n, channels, height, width) in [0, 1].

        A model of rows gives float32 (n, n_columns).
        """
        (decoded,) = self._decode(z)
        return decoded

    def warm_up(self, batch_sizes: Iterable[int]) -> float:
        """Run both graphs once for each batch size; returns this thread's seconds of processor."""
        started = time.thread_time()
        sample = self._manifest.sample
        for batch in batch_sizes:
            self.encode(np.zeros((batch, *sample.shape), sample.tensor[1]))
            self.decode(np.zeros((batch, self._manifest.latent_dim), np.float32))
        return time.thread_time() - started

    def warm_lanes(self, batch: int) -> None:
        """Run the batch in every lane at once, so that memory grows now and not under load."""
        lanes = self.plan.lanes
        with ThreadPoolExecutor(lanes) as pool:
            for _ in pool.map(self.warm_up, [(batch,)] * lanes):
                pass

    def self_test(self, golden: Golden) -> SelfTest:
        """Compare with the golden samples on the provider in use, and CUDA graphs with plain runs.

        Each output may differ by `TOLERANCE`; where the manifest allows more, as for a reduced
        precision, by twice the difference that the exporter found in this output.

        Raises:
            ArtifactError: an output differs by more than that or has another shape, or the
                graphs do not run here.
            DeviceUnavailable: a CUDA graph gives something else.
        """
        try:
            mu, logvar = self.encode(golden.image)
            decoded = self.decode(golden.z)
        except Exception as error:  # ONNX Runtime's errors share no base class but Exception
            raise self._does_not_run(error) from error
        errors = {
            "mu": _largest_error(golden.mu, mu),
            "logvar": _largest_error(golden.logvar, logvar),
            "image": self._decoded_error(golden.decoded, decoded),
        }
        for name, largest in errors.items():
            allowed = max(TOLERANCE, self._allowed(name))
            if not largest <= allowed:
                raise self._self_test_failed(name, largest, allowed)
        for captured, samples in zip(self._captured, (golden.image, golden.z), strict=True):
            if captured is not None:
                captured.self_check(samples)
        return SelfTest(**errors)

    def _allowed(self, output: str) -> float:
        parity = self._manifest.parity
        found: float = getattr(parity, output)
        return min(parity.tolerance, 2 * found)

    def _decoded_error(self, expected: Floats, got: Floats) -> float:
        if expected.shape != got.shape:
            return float("inf")
        return float(decoded_errors(expected, got, self._manifest.vector).max(initial=0.0))

    def close(self) -> None:
        """Let go of the sessions; runs under way finish, later ones fail."""
        self._encode = self._decode = _refuse
        for captured in self._captured:
            if captured is not None:
                captured.close()
        self._captured = (None, None)

    def _does_not_run(self, error: Exception) -> ArtifactError:
        return ArtifactError(
            f"self-test of model `{self._manifest.name}` version {self._manifest.version} on "
            f"{self.providers[0]}: the golden samples must run; got {one_line(error)}; choose "
            "another `device`, or export the model again"
        )

    def _self_test_failed(self, name: str, error: float, tolerance: float) -> ArtifactError:
        return ArtifactError(
            f"self-test of model `{self._manifest.name}` version {self._manifest.version} on "
            f"{self.providers[0]}: `{name}` must be within {tolerance:g} of the golden sample; "
            f"got a difference of {error:.3g}; export the model again"
        )


def _refuse(rows: Samples) -> Outputs:
    raise RuntimeError("the engine is closed")


def _largest_error(expected: Floats, got: Floats) -> float:
    if expected.shape != got.shape:
        return float("inf")
    return float(np.abs(expected.astype(np.float64) - got).max(initial=0.0))
