"""One model's two graphs, opened, checked against the manifest and ready to run.

A run lets go of the GIL and may overlap with other runs on the same session, so lanes are threads
that call `encode` and `decode`; the sessions are shared, and so are the weights.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from service.errors import ArtifactError, DeviceUnavailable
from service.models.artifact import DECODER, ENCODER, Golden, Manifest, decoded_errors
from service.models.onnx_file import external_files
from service.runtime.sessions import open_session, resolve_device
from service.runtime.tensorrt import ProfileShapes
from service.runtime.threads import Device, LanePlan, cpu_budget, plan_lanes

Floats = npt.NDArray[np.float32]
Samples = npt.NDArray[Any]  # uint8 images, or float32 rows

MU_LOGVAR = ["mu", "logvar"]
ONNX_TYPES = {"uint8": "tensor(uint8)", "float32": "tensor(float)"}
LARGEST_BATCH = 32
TOLERANCE = 1e-4  # of the self-test; float32 on another processor stays far below

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SelfTest:
    """Largest absolute errors against the golden samples; `seconds` for the whole test."""

    mu: float
    logvar: float
    image: float
    seconds: float


@dataclass(frozen=True)
class TensorSpec:
    """What the manifest says about one input or output: (batch, *row)."""

    name: str
    dtype: str
    row: tuple[int, ...]


class Engine:
    """Runs the encoder and the decoder of one model; thread-safe.

    Attributes:
        providers: the providers in use, the first one runs the graphs.
        plan: how many lanes should call this engine, and with how many threads each runs.
    """

    def __init__(self, manifest: Manifest, *, encoder: Any, decoder: Any, plan: LanePlan) -> None:
        self._manifest = manifest
        self._sample, _ = manifest.sample.tensor
        self._decoded = [self._sample]
        self._encoder = encoder
        self._decoder = decoder
        self.plan = plan
        self.providers: list[str] = list(encoder.get_providers())

    @classmethod
    def load(
        cls,
        folder: Path,
        manifest: Manifest,
        *,
        device: Device = "auto",
        lanes: int = 0,
        threads: int = 0,
        cache_folder: Path | None = None,
    ) -> Engine:
        """Open both graphs of a folder whose files were verified.

        Args:
            lanes: batches at a time; `threads`: inside each. 0 chooses from the CPU budget.
            cache_folder: for TensorRT's engines.

        Raises:
            ArtifactError: a graph cannot be opened or does not fit the manifest.
            DeviceUnavailable: the device was asked for and is not in use; "auto" takes the CPU
                instead and logs a warning.
        """
        options: dict[str, Any] = {"lanes": lanes, "threads": threads, "cache_folder": cache_folder}
        in_use = resolve_device(device)
        try:
            return cls._open(folder, manifest, device=in_use, **options)
        except DeviceUnavailable as error:
            if device != "auto" or in_use == "cpu":
                raise
            _log.warning("device_fallback device=cpu reason=%r", error.detail)
            return cls._open(folder, manifest, device="cpu", **options)

    @classmethod
    def _open(
        cls,
        folder: Path,
        manifest: Manifest,
        *,
        device: Device,
        cache_folder: Path | None,
        **plan: Any,
    ) -> Engine:
        lane_plan = plan_lanes(cpu_budget(), device=device, **plan)
        sessions = {}
        for file_name, inputs, outputs in _signatures(manifest):
            path = folder / file_name
            _require_listed(path, manifest)
            sessions[file_name] = open_session(
                path,
                device=device,
                threads=lane_plan.threads,
                cache_folder=cache_folder,
                profile=ProfileShapes(inputs.name, inputs.row, LARGEST_BATCH),
            )
            _check_signature(path, sessions[file_name], inputs=[inputs], outputs=outputs)
        return cls(manifest, encoder=sessions[ENCODER], decoder=sessions[DECODER], plan=lane_plan)

    def encode(self, images: Samples) -> tuple[Floats, Floats]:
        """uint8 (n, channels, height, width) to mu and logvar, float32 (n, latent_dim) each.

        A model of rows takes float32 (n, n_columns).
        """
        mu, logvar = self._encoder.run(MU_LOGVAR, {self._sample: images})
        return mu, logvar

    def decode(self, z: Floats) -> Floats:
        """float32 (n, latent_dim) to float32 (n, channels, height, width) in [0, 1].

        A model of rows gives float32 (n, n_columns).
        """
        (image,) = self._decoder.run(self._decoded, {"z": z})
        decoded: Floats = image
        return decoded

    def warm_up(self, batch_sizes: Iterable[int]) -> float:
        """Run both graphs once for each batch size; returns the seconds that it took."""
        started = time.perf_counter()
        sample = self._manifest.sample
        for batch in batch_sizes:
            self.encode(np.zeros((batch, *sample.shape), sample.tensor[1]))
            self.decode(np.zeros((batch, self._manifest.latent_dim), np.float32))
        return time.perf_counter() - started

    def warm_lanes(self, batch: int) -> None:
        """Run the batch in every lane at once, so that memory grows now and not under load."""
        lanes = self.plan.lanes
        with ThreadPoolExecutor(lanes) as pool:
            for _ in pool.map(self.warm_up, [(batch,)] * lanes):
                pass

    def self_test(self, golden: Golden, tolerance: float = TOLERANCE) -> SelfTest:
        """Compare with the golden samples on the provider in use.

        Raises:
            ArtifactError: an output differs by more than `tolerance` or has another shape.
        """
        started = time.perf_counter()
        mu, logvar = self.encode(golden.image)
        decoded = self.decode(golden.z)
        errors = {
            "mu": _largest_error(golden.mu, mu),
            "logvar": _largest_error(golden.logvar, logvar),
            "image": self._decoded_error(golden.decoded, decoded),
        }
        for name, error in errors.items():
            if not error <= tolerance:
                raise self._self_test_failed(name, error, tolerance)
        return SelfTest(**errors, seconds=time.perf_counter() - started)

    def _decoded_error(self, expected: Floats, got: Floats) -> float:
        if expected.shape != got.shape:
            return float("inf")
        return float(decoded_errors(expected, got, self._manifest.vector).max(initial=0.0))

    def close(self) -> None:
        """Let go of the sessions; runs under way finish, later ones fail."""
        self._encoder = self._decoder = None

    def _self_test_failed(self, name: str, error: float, tolerance: float) -> ArtifactError:
        return ArtifactError(
            f"self-test of model `{self._manifest.name}` version {self._manifest.version} on "
            f"{self.providers[0]}: `{name}` must be within {tolerance:g} of the golden sample; "
            f"got a difference of {error:.3g}; export the model again"
        )


def _signatures(manifest: Manifest) -> list[tuple[str, TensorSpec, list[TensorSpec]]]:
    shape, latents = manifest.sample.shape, (manifest.latent_dim,)
    name, dtype = manifest.sample.tensor
    return [
        (
            ENCODER,
            TensorSpec(name, dtype, shape),
            [TensorSpec("mu", "float32", latents), TensorSpec("logvar", "float32", latents)],
        ),
        (DECODER, TensorSpec("z", "float32", latents), [TensorSpec(name, "float32", shape)]),
    ]


def _require_listed(path: Path, manifest: Manifest) -> None:
    """Weights outside the graph must be among the verified files, so never outside the folder."""
    unlisted = sorted(external_files(path) - set(manifest.files))
    if unlisted:
        raise ArtifactError(
            f"`{path}` keeps weights in files that the manifest does not list: {unlisted}; "
            "export the model again with its weights inside the graph"
        )


def _check_signature(
    path: Path, session: Any, *, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]
) -> None:
    _check_tensors(path, "inputs", session.get_inputs(), inputs)
    _check_tensors(path, "outputs", session.get_outputs(), outputs)


def _check_tensors(path: Path, kind: str, got: Sequence[Any], wanted: Sequence[TensorSpec]) -> None:
    shown_wanted = [f"{spec.name} {spec.dtype} {('batch', *spec.row)}" for spec in wanted]
    if len(got) == len(wanted) and all(map(_fits, got, wanted)):
        return
    shown_got = [f"{tensor.name} {tensor.type} {tuple(tensor.shape)}" for tensor in got]
    raise ArtifactError(
        f"`{path}` must have the {kind} {'; '.join(shown_wanted)} as the manifest says; "
        f"got {'; '.join(shown_got)}; export the model again"
    )


def _fits(tensor: Any, spec: TensorSpec) -> bool:
    """Outputs may leave lengths open, which graph rewriting does; the self-test checks them."""
    batch, *row = tensor.shape or [0]
    return (
        tensor.name == spec.name
        and tensor.type == ONNX_TYPES[spec.dtype]
        and not isinstance(batch, int)
        and len(row) == len(spec.row)
        and all(
            length == wanted or not isinstance(length, int)
            for length, wanted in zip(row, spec.row, strict=True)
        )
    )


def _largest_error(expected: Floats, got: Floats) -> float:
    if expected.shape != got.shape:
        return float("inf")
    return float(np.abs(expected.astype(np.float64) - got).max(initial=0.0))
