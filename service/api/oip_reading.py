"""Reads requests of the Open Inference Protocol for one graph of a model."""

from dataclasses import dataclass
from typing import Final, Literal

from service.api.oip_schemas import InferInput, InferRequest, Parameters
from service.api.parameters import shorten
from service.api.schemas import parse_body
from service.codecs.oip import Array, TensorSpec, read_bytes, read_numbers, read_rows, split_body
from service.errors import InvalidValue, MalformedInput
from service.latent import LARGEST_LATENT
from service.models.manifest import Manifest
from service.models.served import ServedModel

_DATATYPES: Final = {"uint8": "UINT8", "float32": "FP32"}
# What Triton has beside the protocol and would be wrong to ignore.
_REFUSED_PARAMETERS: Final = ("shared_memory_region", "classification")

Operation = Literal["encode", "decode"]


@dataclass(frozen=True, slots=True)
class Graph:
    """What one name under `/v2/models` stands for."""

    name: str
    model: ServedModel
    operation: Operation

    @property
    def input(self) -> TensorSpec:
        """The one input."""
        return tensors(self.model.manifest, self.operation)[0]

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """In the order in which the graph gives them."""
        return tensors(self.model.manifest, self.operation)[1:]


@dataclass(frozen=True, slots=True)
class Inference:
    """A request that was read: `rows` (n, ...), and which outputs are wanted, bytes or JSON."""

    rows: Array
    wanted: tuple[tuple[TensorSpec, bool], ...]
    id: str | None = None
    timeout_s: float | None = None


def tensors(manifest: Manifest, operation: Operation) -> tuple[TensorSpec, ...]:
    """The input of a graph and then its outputs."""
    sample, latents = manifest.sample, (manifest.latent_dim,)
    name, dtype = sample.tensor
    if operation == "decode":
        z = TensorSpec("z", "FP32", latents, LARGEST_LATENT)
        return z, TensorSpec(name, "FP32", sample.shape)
    return (
        TensorSpec(name, _DATATYPES[dtype], sample.shape),
        TensorSpec("mu", "FP32", latents),
        TensorSpec("logvar", "FP32", latents),
    )


def read_inference(graph: Graph, body: bytes, header_length: bytes | None) -> Inference:
    """Reads a request: JSON, JSON with bytes behind it, or with a header of 0 bytes alone.

    Raises:
        MalformedInput, InvalidValue: what is wrong with it.
    """
    text, content = split_body(body, header_length)
    if header_length is not None and not text:
        rows = read_rows(graph.input, content)
        return Inference(rows, tuple((spec, True) for spec in graph.outputs))
    request = parse_body(text, InferRequest)
    return Inference(
        _rows(graph, request.inputs, content),
        _wanted(graph, request),
        request.id,
        _timeout_s(request.parameters),
    )


def _rows(graph: Graph, inputs: list[InferInput], content: memoryview) -> Array:
    spec, given = graph.input, inputs[0]
    if len(inputs) != 1 or given.name != spec.name:
        got = ", ".join(f"`{shorten(one.name)}`" for one in inputs)
        raise InvalidValue(
            f"`inputs` of model `{graph.name}` must be `{spec.name}` alone; got {got}; "
            "NAME-decoder takes `z`, NAME-encoder what was encoded"
        )
    if given.datatype != spec.datatype:
        raise InvalidValue(
            f"`datatype` of input `{spec.name}` must be `{spec.datatype}`; "
            f"got `{shorten(given.datatype)}`"
        )
    _refuse(given.parameters)
    size = _binary_size(given)
    if size is None and given.data is None:
        raise InvalidValue(
            f"input `{spec.name}` must have `data`, or `binary_data_size` among its `parameters`; "
            "got neither"
        )
    if len(content) != (size or 0):
        raise MalformedInput(
            f"behind the JSON there must be {size or 0} bytes, as `binary_data_size` says; "
            f"got {len(content)}; `Inference-Header-Content-Length` is the length of the JSON"
        )
    if size is None:
        return read_numbers(spec, given.shape, given.data or [])
    return read_bytes(spec, given.shape, content)


def _binary_size(given: InferInput) -> int | None:
    size = given.parameters.get("binary_data_size")
    if size is None:
        return None
    if type(size) is not int or size < 0:
        raise InvalidValue(
            f"`binary_data_size` must be a whole number of bytes; got `{shorten(size)}`"
        )
    if given.data is not None:
        raise InvalidValue("an input must have `data` or `binary_data_size`; got both")
    return size


def _wanted(graph: Graph, request: InferRequest) -> tuple[tuple[TensorSpec, bool], ...]:
    binary = _flag(request.parameters, "binary_data_output", default=False)
    if not request.outputs:
        return tuple((spec, binary) for spec in graph.outputs)
    known = {spec.name: spec for spec in graph.outputs}
    chosen: dict[str, tuple[TensorSpec, bool]] = {}
    for one in request.outputs:
        if one.name not in known or one.name in chosen:
            listed = ", ".join(f"`{name}`" for name in known)
            raise InvalidValue(
                f"`outputs` of model `{graph.name}` must be of {listed}, each once; "
                f"got `{shorten(one.name)}`"
            )
        _refuse(one.parameters)
        as_bytes = _flag(one.parameters, "binary_data", default=binary)
        chosen[one.name] = known[one.name], as_bytes
    return tuple(chosen.values())


def _flag(parameters: Parameters, name: str, *, default: bool) -> bool:
    value = parameters.get(name, default)
    if not isinstance(value, bool):
        raise InvalidValue(f"`{name}` must be true or false; got `{shorten(value)}`")
    return value


def _refuse(parameters: Parameters) -> None:
    for name in _REFUSED_PARAMETERS:
        if parameters.get(name):
            raise InvalidValue(f"`{name}` is not offered here; got it; leave it out")


def _timeout_s(parameters: Parameters) -> float | None:
    timeout_us = parameters.get("timeout")
    if timeout_us is None or timeout_us == 0:
        return None
    if type(timeout_us) is not int or timeout_us < 0:
        raise InvalidValue(
            f"`timeout` must be a whole number of microseconds; got `{shorten(timeout_us)}`"
        )
    return min(timeout_us, 10**15) / 1e6
