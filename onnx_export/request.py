"""What a person asks of an export, and what is given back."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from onnx_export.forms import MAX_ERROR_PERCENT, Precision, Target
from onnx_export.loss import Loss, Speed
from service.models.artifact import Manifest


@dataclass(frozen=True)
class Request:
    """Where to, under which names, and in which form.

    Attributes:
        repository: the model repository.
        name: None is the data's name, with the form added if it is not the usual one.
        version: None is one above the highest.
        names: "scale=3,orientation=7", by the numbers of the report.
        force: export a doubtful run all the same.
        pruned: keep the relevant dimensions only.
        precision: of weights and activations.
        max_error_percent: what a reduced precision may move a value by, in percent of its range.
        target: the processor that the layers are arranged for; see `arrangement`.
        signing_key: PEM file of the Ed25519 private key to sign the manifest with.
        triton: a Triton model repository to add the graphs to.
    """

    repository: Path
    name: str | None = None
    version: int | None = None
    names: str = ""
    force: bool = False
    pruned: bool = False
    precision: Precision = "float32"
    max_error_percent: float = MAX_ERROR_PERCENT
    target: Target = "cpu"
    signing_key: Path | None = None
    triton: Path | None = None

    @property
    def arrangement(self) -> Target:
        """float16 is for GPUs whatever is asked."""
        return "gpu" if self.precision == "float16" else self.target

    def model_name(self, data_name: str, *, is_pruned: bool = False) -> str:
        """The name, so that a reduced model does not become the next version of the full one.

        Args:
            data_name: of the run's data.
            is_pruned: whether the run itself was made by `rfvae-train prune`.
        """
        if self.name is not None:
            return self.name
        form = "-pruned" if self.pruned or is_pruned else ""
        return data_name + form + ("" if self.precision == "float32" else f"-{self.precision}")


@dataclass(frozen=True)
class Reduction:
    """What a reduced precision costs and brings."""

    loss: Loss
    speed: Speed


@dataclass(frozen=True)
class Exported:
    """What was written, and what spoke against it."""

    folder: Path
    manifest: Manifest
    warnings: Sequence[str]
    reduction: Reduction | None = None
