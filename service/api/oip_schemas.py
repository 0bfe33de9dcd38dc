"""The JSON of the Open Inference Protocol v2; keys that are not known are let pass, as it says."""

from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field

from service.api.schemas import Body

Length = Annotated[int, Field(strict=True, ge=0, le=2**40)]
Parameters = dict[str, Any]


class _Lenient(Body):
    model_config = ConfigDict(extra="ignore", frozen=True)


class InferInput(_Lenient):
    """One input tensor."""

    name: str
    shape: list[Length] = Field(min_length=1, max_length=8)
    datatype: str = Field(description="`UINT8` or `FP32`, as the model's metadata says.")
    parameters: Parameters = Field({}, description="`binary_data_size`: its bytes behind the JSON.")
    data: list[Any] | None = Field(None, description="The numbers row by row, flat or nested.")


class InferOutputChoice(_Lenient):
    """One output tensor that is wanted."""

    name: str
    parameters: Parameters = Field({}, description="`binary_data`: true for bytes after the JSON.")


class InferRequest(_Lenient):
    """One inference."""

    id: str | None = Field(None, max_length=256, description="Comes back in the answer.")
    parameters: Parameters = Field(
        {},
        description="`binary_data_output`: true for bytes in every output; `timeout`: time that "
        "the answer may take, in microseconds.",
    )
    inputs: list[InferInput] = Field(min_length=1, max_length=16)
    outputs: list[InferOutputChoice] | None = Field(
        None, max_length=16, description="Default: all of them, as JSON."
    )


class InferOutput(BaseModel):
    """One output tensor: `data`, or bytes after the JSON that `parameters` gives the size of."""

    name: str
    datatype: str
    shape: list[int]
    parameters: Parameters | None = None
    data: list[float] | None = None


class InferAnswer(BaseModel):
    """The outputs of one inference."""

    model_name: str
    model_version: str
    id: str | None = None
    outputs: list[InferOutput]


class TensorFacts(BaseModel):
    """A tensor of a model; -1 is any length."""

    name: str
    datatype: str
    shape: list[int]


class ModelMetadata(BaseModel):
    """What a model takes and gives."""

    name: str
    versions: list[str]
    platform: str
    inputs: list[TensorFacts]
    outputs: list[TensorFacts]


class ServerMetadata(BaseModel):
    """The server and the extensions that it has."""

    name: str
    version: str
    extensions: list[str]


class ServerLive(BaseModel):
    """Whether the server is alive."""

    live: bool


class ServerReady(BaseModel):
    """Whether requests can be answered."""

    ready: bool


class ModelReady(BaseModel):
    """Whether a model can answer."""

    name: str
    ready: bool


class OipError(BaseModel):
    """An error: the rule, what was received, what to do."""

    error: str


OIP_MODELS: Final[tuple[type[BaseModel], ...]] = (
    InferRequest,
    InferAnswer,
    ModelMetadata,
    ServerMetadata,
    ServerLive,
    ServerReady,
    ModelReady,
    OipError,
)
