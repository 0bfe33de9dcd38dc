"""What the two graphs of a model must take and give, as its manifest says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from service.errors import ArtifactError
from service.models.manifest import DECODER, ENCODER, Manifest

ONNX_TYPES = {"uint8": "tensor(uint8)", "float32": "tensor(float)"}


@dataclass(frozen=True)
class TensorSpec:
    """One input or output: (batch, *row)."""

    name: str
    dtype: str
    row: tuple[int, ...]


@dataclass(frozen=True)
class GraphSpec:
    """One graph: its file, its only input, and its outputs in order."""

    file_name: str
    input: TensorSpec
    outputs: tuple[TensorSpec, ...]

    @property
    def output_names(self) -> list[str]:
        return [output.name for output in self.outputs]

    def check(self, path: Path, session: Any) -> None:
        """Compare with what an opened session says of itself.

        Raises:
            ArtifactError: a name, a type or a shape differs.
        """
        _check_tensors(path, "inputs", session.get_inputs(), [self.input])
        _check_tensors(path, "outputs", session.get_outputs(), self.outputs)


def graph_specs(manifest: Manifest) -> tuple[GraphSpec, GraphSpec]:
    """The encoder and the decoder."""
    name, dtype = manifest.sample.tensor
    sample, latents = manifest.sample.shape, (manifest.latent_dim,)
    moments = tuple(TensorSpec(moment, "float32", latents) for moment in ("mu", "logvar"))
    return (
        GraphSpec(ENCODER, TensorSpec(name, dtype, sample), moments),
        GraphSpec(
            DECODER, TensorSpec("z", "float32", latents), (TensorSpec(name, "float32", sample),)
        ),
    )


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
