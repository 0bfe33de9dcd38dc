"""The JSON that goes in, checked by these models, and comes out, documented and tested by them."""

from typing import Annotated, Any, Final, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from service.api.parameters import Dims, Finite, explain
from service.errors import MalformedInput, ServiceError

Latent = Annotated[float, Field(strict=True, allow_inf_nan=False, ge=-1e6, le=1e6)]
Row = Annotated[list[Latent], Field(min_length=1)]
Base64Png = Annotated[str, Field(description="PNG in base64.")]


# A light rectangle on black, 16 x 16 pixels.
A_PNG: Final = (
    "iVBORw0KGgoAAAANSUhEUgAAABAAAAAQAQAAAAA3iMLMAAAAFElEQVR42mNgQALsD5gYGDARMgAAIDUA9o8a/wYAAAAA"
    "SUVORK5CYII="
)


def _example(**fields: Any) -> ConfigDict:
    """What `/docs` sends at the first click, whatever the model; options stand in its query."""
    return ConfigDict(json_schema_extra={"examples": [fields]})


class Body(BaseModel):
    """What all JSON bodies share: a key that is not known is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ImagesBody(Body):
    """Pictures as base64 text."""

    model_config = _example(images=[A_PNG])

    images: list[str] = Field(
        min_length=1, description="PNG, JPEG, WebP or BMP files in base64, one text each."
    )


class ChoiceBody(Body):
    """Which latent dimensions come back, in place of the query's words."""

    dims: Dims = Field("relevant", description="`relevant`, `all`, or numbers or names.")
    top_k: int | None = Field(None, ge=1, strict=True, description="Keep the first k of them.")
    threshold: float | None = Field(
        None, ge=0, le=1, strict=True, description="Keep those with at least this relevance."
    )


class EncodeBody(ChoiceBody, ImagesBody):
    """Pictures, and which latent dimensions come back."""


class DecodeBody(Body):
    """Latents to turn into images."""

    model_config = _example(latents=[[1.5]], dims=[0])

    latents: list[Row] = Field(
        min_length=1,
        description="One row an image, in prior standard deviations: every dimension, or only the "
        "relevant ones in order of relevance; what is not given becomes the training mean.",
    )
    dims: Dims | None = Field(None, description="Which dimensions the rows give, in that order.")


class SweepBody(Body):
    """What a traversal varies, and the latents that it may start at."""

    latents: list[Row] | None = Field(
        None, min_length=1, max_length=1, description="One row, as for /decode."
    )
    dims: Dims = Field("relevant", description="Rows of the grid.")
    steps: int = Field(11, strict=True, description="Columns of the grid, 2 to `max_steps`.")
    low: Finite | None = Field(None, description="First value; default: the 1 % quantile.")
    high: Finite | None = Field(None, description="Last value; default: the 99 % quantile.")


class TraverseBody(SweepBody):
    """Where a traversal starts, and what it varies; all of it may be left out."""

    model_config = _example(images=[A_PNG])

    images: list[str] | None = Field(
        None, min_length=1, max_length=1, description="One picture in base64."
    )


class InterpolateBody(ImagesBody):
    """Two pictures and the number of steps between them."""

    model_config = _example(images=[A_PNG, A_PNG])

    steps: int = Field(11, strict=True, description="Columns of the grid, 2 to `max_steps`.")


class SwapBody(ImagesBody):
    """Two pictures and the dimensions to take from the second."""

    model_config = _example(images=[A_PNG, A_PNG], dims=[0])

    dims: Dims | None = Field(
        None, description="Numbers or names of dimensions, `relevant` or `all`."
    )


class Answer(BaseModel):
    """What all JSON answers about a model share."""

    model_config = ConfigDict(extra="forbid")

    model: str
    version: int


class EncodeAnswer(Answer):
    """The posterior of each image over the chosen dimensions."""

    dims: list[int]
    names: list[str]
    relevance: list[float]
    mu: list[list[float]] = Field(description="Posterior means, one row an image.")
    sigma: list[list[float]] = Field(description="Posterior standard deviations.")
    resized: bool = Field(description="Whether an image had another size and was resized.")


class FactorValue(BaseModel):
    """One relevant factor of one image."""

    dim: int
    name: str
    relevance: float
    value: float = Field(description="Posterior mean, in prior standard deviations.")
    sigma: float
    percentile: float = Field(description="Place among the training images, 1 to 99.")
    in_range: bool = Field(description="Whether it lies in the training data's 1 to 99 % range.")
    kl: float = Field(description="Nats.")


class Novelty(BaseModel):
    """How unusual an image is for the model."""

    elbo: float = Field(description="Evidence lower bound, nats.")
    percentile: float = Field(description="Percent of training images explained better, 1 to 99.")


class ImageFactors(BaseModel):
    """The factors of one image."""

    factors: list[FactorValue]
    novelty: Novelty


class FactorsAnswer(Answer):
    """The factors of each image."""

    images: list[ImageFactors]
    resized: bool


class FactorFacts(BaseModel):
    """One latent dimension over the training set."""

    dim: int
    name: str
    changes: list[str] = Field(
        description="What its sweep from p1 to p99 does to a typical image, measured without "
        'labels: "turns 160 degrees clockwise". Empty where nothing was measured.'
    )
    relevance: float
    relevant: bool
    mean_kl: float = Field(description="Nats.")
    mu_mean: float
    mu_std: float
    mu_quantiles: dict[str, float] = Field(description="p1 to p99 of mu over the training set.")
    decoder_sensitivity: float


class ModelFactorsAnswer(Answer):
    """A model's dimensions: the relevant ones first, in order of relevance."""

    n_relevant: int
    relevance_rule: str
    factors: list[FactorFacts]


class DecodeAnswer(Answer):
    """One picture for each row of latents."""

    images: list[Base64Png]


class Labeled(BaseModel):
    """What a row of frames shows."""

    dim: int | None = Field(description="The dimension that varies; null where none does.")
    name: str
    values: list[float] = Field(description="The dimension's value in each frame, if one varies.")


class GridRow(Labeled):
    """One row of frames."""

    frames: list[Base64Png]


class GridAnswer(Answer):
    """A grid of frames: row = factor (or image), column = step."""

    rows: list[GridRow]
    columns: list[str] = Field(description="What each column shows.")
    resized: bool


class VersionFacts(BaseModel):
    """One version of a model."""

    version: int
    state: Literal["loading", "ready", "draining", "failed"]
    reason: str | None = None
    providers: list[str] = []


class ModelFacts(BaseModel):
    """One model and its versions."""

    name: str
    default: bool
    default_version: int | None
    versions: list[VersionFacts]


class ModelsAnswer(BaseModel):
    """All models of the repository."""

    default_model: str | None
    models: list[ModelFacts]


class ModelAnswer(ModelFacts):
    """One model with the manifests of its versions."""

    manifests: dict[str, dict[str, Any]]


class HealthAnswer(BaseModel):
    """State of the service, with the reasons when it is not well."""

    status: str
    reasons: list[str]


class Problem(BaseModel):
    """An error as RFC 9457 has it."""

    type: str = Field(description="A stable URN; programs may branch on it.")
    title: str
    status: int
    detail: str = Field(description="The rule, what was received, what to do.")
    request_id: str


B = TypeVar("B", bound=Body)


def parse_body(body: bytes, schema: type[B]) -> B:
    """Reads a JSON body.

    Raises:
        MalformedInput: the bytes are no JSON.
        InvalidValue: the JSON is not what the route takes; the text names the first wrong field.
    """
    if not body:
        raise MalformedInput("a body of `application/json` must be JSON; got nothing")
    try:
        return schema.model_validate_json(body)
    except ValidationError as error:
        raise _body_error(error, schema) from None


def _body_error(error: ValidationError, schema: type[Body]) -> ServiceError:
    first = error.errors(include_url=False, include_context=False)[0]
    if first["type"] == "json_invalid":
        where = first["msg"].removeprefix("Invalid JSON: ")
        return MalformedInput(f"a body of `application/json` must be JSON; got {where}")
    return explain(error, schema, place="field")
