"""The schema of `manifest.json`, and the rules that its fields keep among themselves."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

from service.errors import UnsupportedMediaType

ENCODER, DECODER, GOLDEN = REQUIRED_FILES = ("encoder.onnx", "decoder.onnx", "golden.npz")
LARGEST_LATENT_DIM = 4096  # as in training
LONGEST_NAME, LONGEST_CHANGE = 80, 200  # characters

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Count = Annotated[int, Field(ge=0)]
Positive = Annotated[int, Field(ge=1)]
NonNegative = Annotated[float, Field(ge=0)]
# One path segment that is safe in a URL, in a metric label and as a folder.
MODEL_NAME = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")
ModelName = Annotated[str, Field(pattern=MODEL_NAME.pattern)]


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

    @property
    def tensor(self) -> tuple[str, str]:
        """Name and type in the graphs."""
        return "image", "uint8"


class VectorSpec(_Part):
    """The rows of numbers that the model was trained on.

    Graphs take and give rows in the data's own units; inside, a column is (value - offset) / scale.
    """

    columns: Annotated[list[Annotated[str, Field(min_length=1)]], Field(min_length=1)]
    offset: list[float]
    scale: list[Annotated[float, Field(gt=0)]]

    @property
    def shape(self) -> tuple[int]:
        """(n_columns,)."""
        return (len(self.columns),)

    @property
    def tensor(self) -> tuple[str, str]:
        """Name and type in the graphs."""
        return "row", "float32"

    @model_validator(mode="after")
    def _one_each(self) -> VectorSpec:
        lengths = (len(self.columns), len(self.offset), len(self.scale))
        if len(set(lengths)) != 1:
            raise ValueError(
                "`columns`, `offset` and `scale` must have one entry for each column; got "
                f"{lengths[0]}, {lengths[1]} and {lengths[2]}"
            )
        if len(set(self.columns)) != len(self.columns):
            raise ValueError(f"`columns` must not hold a name twice; got {self.columns}")
        return self


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
    """One latent dimension over the training set; `mu_*` in prior standard deviations.

    `changes` says in words what its sweep from p1 to p99 does to a typical image, as measured.
    """

    dim: Count
    name: Annotated[str, Field(min_length=1, max_length=LONGEST_NAME)]
    changes: tuple[Annotated[str, Field(max_length=LONGEST_CHANGE)], ...] = ()
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
    image: ImageSpec | None = None  # of a model of images
    vector: VectorSpec | None = None  # of a model of rows; since format 2
    likelihood: Literal["bernoulli", "gaussian"]
    # Standard deviation of a Gaussian: of pixels in [0, 1], or of a column's (value - offset) /
    # scale; since format 2.
    likelihood_scale: Annotated[float, Field(gt=0)] = 1.0
    latent_dim: Annotated[int, Field(ge=1, le=LARGEST_LATENT_DIM)]
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
        if (self.image is None) == (self.vector is None):
            raise ValueError("one of `image` and `vector` must say what the model takes")
        self._check_dimensions()
        self._check_relevant_dims()
        self._check_files()
        return self

    @model_serializer(mode="wrap")
    def _leave_out_defaults(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """A model that needs nothing of format 2 has the fields of format 1 only."""
        document: dict[str, Any] = serialize(self)
        if document["likelihood_scale"] == 1:
            del document["likelihood_scale"]
        return {name: value for name, value in document.items() if value is not None}

    @property
    def sample(self) -> ImageSpec | VectorSpec:
        """What the model takes and gives: images, or rows of numbers."""
        sample = self.image or self.vector
        assert sample is not None, "checked by `_fit_together`"
        return sample

    @property
    def relevant(self) -> list[Dimension]:
        """The relevant dimensions, in their order."""
        return [self.dimensions[dim] for dim in self.relevant_dims]

    @property
    def relevant_first(self) -> list[Dimension]:
        """All dimensions: the relevant ones in their order, then the others by number."""
        return [*self.relevant, *(one for one in self.dimensions if not one.relevant)]

    def require_image(self) -> ImageSpec:
        """What the model's images are.

        Raises:
            UnsupportedMediaType: it takes rows of numbers.
        """
        if self.image is None:
            raise UnsupportedMediaType(
                f"model `{self.name}` takes rows of {self.sample.shape[0]} numbers and no images; "
                "POST them to /encode as JSON or npy"
            )
        return self.image

    def _check_dimensions(self) -> None:
        listed = [dimension.dim for dimension in self.dimensions]
        if listed != list(range(self.latent_dim)):
            raise ValueError(
                f"`dimensions` must list dims 0 to {self.latent_dim - 1} in order, as `latent_dim` "
                f"is {self.latent_dim}; got {listed}"
            )
        names = [dimension.name for dimension in self.dimensions]
        wrong = [name for name in names if names.count(name) > 1 or not name.isprintable()]
        if wrong:
            raise ValueError(
                "names of dimensions must be printable, and each of one dimension: got "
                f"{wrong[0]!r}"
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
