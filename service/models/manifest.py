"""The schema of `manifest.json`, and the rules that its fields keep among themselves."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

REQUIRED_FILES = ("encoder.onnx", "decoder.onnx", "golden.npz")

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Count = Annotated[int, Field(ge=0)]
Positive = Annotated[int, Field(ge=1)]
NonNegative = Annotated[float, Field(ge=0)]
# One path segment that is safe in a URL, in a metric label and as a folder.
ModelName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class FileEntry(_Part):
    sha256: Sha256
    size_bytes: Count


class ImageSpec(_Part):
    """The images that the model was trained on; `polarity` says which of the two is the ground."""

    channels: Literal[1, 3]
    height: Positive
    width: Positive
    polarity: Literal["light_on_dark", "dark_on_light"]

    @property
    def shape(self) -> tuple[int, int, int]:
        """(channels, height, width)."""
        return self.channels, self.height, self.width


class Quantiles(_Part):
    """The 1, 5, 25, 50, 75, 95 and 99 % quantiles of something over the training set."""

    p1: float
    p5: float
    p25: float
    p50: float
    p75: float
    p95: float
    p99: float

    def values(self) -> tuple[float, ...]:
        """All seven, from low to high."""
        return self.p1, self.p5, self.p25, self.p50, self.p75, self.p95, self.p99

    @model_validator(mode="after")
    def _rise(self) -> Quantiles:
        values = self.values()
        if any(high < low for low, high in pairwise(values)):
            raise ValueError(f"quantiles must not fall from p1 to p99; got {list(values)}")
        return self


class Dimension(_Part):
    """One latent dimension over the training set; `mu_*` in prior standard deviations."""

    dim: Count
    name: Annotated[str, Field(min_length=1, max_length=80)]
    relevance: Annotated[float, Field(ge=0, le=1)]
    relevant: bool
    mean_kl: NonNegative  # nats
    mu_mean: float
    mu_std: NonNegative
    mu_quantiles: Quantiles
    decoder_sensitivity: NonNegative


class TrainingFacts(_Part):
    objective: str
    config: dict[str, Any]
    config_sha256: Sha256
    data_name: str
    data_source: str
    data_sha256: Sha256
    n_images: Positive
    seed: int
    steps: Count
    seconds: NonNegative
    code_version: str
    torch_version: str


class Parity(_Part):
    """Largest absolute differences between torch and ONNX Runtime over batches of these sizes."""

    mu: NonNegative
    logvar: NonNegative
    image: NonNegative
    batches: list[Positive]
    tolerance: NonNegative


class Manifest(_Part):
    format_version: int
    name: ModelName
    version: Positive
    created: str  # ISO 8601, UTC
    training: TrainingFacts
    image: ImageSpec
    likelihood: Literal["bernoulli", "gaussian"]
    latent_dim: Positive
    dimensions: list[Dimension]
    relevant_dims: list[Count]
    relevance_rule: str
    elbo_quantiles: Quantiles  # nats per image
    scores: dict[str, float]
    files: dict[str, FileEntry]
    opset: Positive
    parity: Parity

    @model_validator(mode="after")
    def _fit_together(self) -> Manifest:
        self._check_dimensions()
        self._check_relevant_dims()
        self._check_files()
        return self

    def _check_dimensions(self) -> None:
        listed = [dimension.dim for dimension in self.dimensions]
        if listed != list(range(self.latent_dim)):
            raise ValueError(
                f"`dimensions` must list dims 0 to {self.latent_dim - 1} in order, as `latent_dim` "
                f"is {self.latent_dim}; got {listed}"
            )

    def _check_relevant_dims(self) -> None:
        flagged = [dimension.dim for dimension in self.dimensions if dimension.relevant]
        if sorted(self.relevant_dims) != flagged:
            raise ValueError(
                "`relevant_dims` must hold each dimension marked `relevant` once; "
                f"got {self.relevant_dims}, marked are {flagged}"
            )

    def _check_files(self) -> None:
        missing = [name for name in REQUIRED_FILES if name not in self.files]
        if missing:
            raise ValueError(f"`files` must list {', '.join(REQUIRED_FILES)}; missing {missing}")
        unsafe = [name for name in self.files if not is_plain_name(name)]
        if unsafe:
            raise ValueError(f"`files` must hold plain names without folders; got {unsafe}")


def is_plain_name(name: str) -> bool:
    """Whether a file name stays inside its folder."""
    return name not in {"", ".", ".."} and not any(mark in name for mark in "/\\\0")
