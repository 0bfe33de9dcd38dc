"""`/v2`: the Open Inference Protocol v2 over the same models, batcher and limits as all routes.

A model NAME is two graphs, named as Triton would serve its export: `NAME-encoder` (`image` to `mu`
and `logvar`) and `NAME-decoder` (`z` to `image`); NAME alone is the encoder. A model of rows of
numbers has `row` in place of `image`.
"""

import time
from typing import Any, Final

from starlette.responses import Response

from service.api.answers import Ready, json_answer
from service.api.call import Call
from service.api.health import is_ready
from service.api.oip_reading import Graph, Inference, Operation, read_inference
from service.api.parameters import shorten
from service.codecs.oip import Array, Output, TensorSpec, write_answer
from service.errors import NotFound, NotReady, UnknownModel
from service.intake import Load
from service.models.registry import Registry

HEADER_LENGTH: Final = b"inference-header-content-length"
EXTENSIONS: Final = ("binary_tensor_data",)
PLATFORM: Final = "onnxruntime_onnx"
OCTETS: Final = "application/octet-stream"
# Above these a change of thread costs less than the work would block the event loop.
LARGE_JSON_BYTES: Final = 16 * 1024
LARGE_TENSOR_BYTES: Final = 512 * 1024
LARGE_NUMBERS: Final = 16 * 1024
_LARGEST_VERSION: Final = 9  # digits
_SUFFIXES: Final[dict[str, Operation]] = {"-encoder": "encode", "-decoder": "decode"}


async def infer(call: Call) -> Response:
    """The posterior of images, or the images of latents, as the model's name says."""
    graph = find_graph(call)
    call.record.model, call.record.version = graph.model.name, str(graph.model.version)
    graph.model.batcher.require_room(graph.operation, deadline=call.record.deadline_s)
    body = await call.read_body()
    started_s = time.monotonic()
    header_length = call.record.headers.get(HEADER_LENGTH)
    inference = await _read(call, graph, body, header_length)
    call.record.decode_s = time.monotonic() - started_s
    arrays = await _run(call, graph, inference)
    started_s = time.monotonic()
    large = sum(array.size for array in arrays.values()) > LARGE_NUMBERS
    answer = await call.service.offload.run(large, _answer, graph, inference, arrays)
    call.record.encode_s = time.monotonic() - started_s
    return answer


async def server_metadata(call: Call) -> Response:
    """The server, its version and the extensions that it has."""
    version = str(call.app.version)
    return json_answer({"name": "rfvae", "version": version, "extensions": EXTENSIONS})


async def server_live(call: Call) -> Response:
    """Answers as long as the event loop turns."""
    return json_answer({"live": True})


async def server_ready(call: Call) -> Response:
    """Says whether requests can be answered now, as `/readyz` does with its reasons."""
    ready = is_ready(call.service)
    return json_answer({"ready": ready}, status=200 if ready else 503)


async def model_metadata(call: Call) -> Response:
    """The inputs and outputs of a model."""
    graph = find_graph(call)
    ready = [m for m in call.service.registry.ready_models() if m.name == graph.model.name]
    return json_answer(
        {
            "name": graph.name,
            "versions": [str(model.version) for model in ready],
            "platform": PLATFORM,
            "inputs": [_facts(graph.input)],
            "outputs": [_facts(spec) for spec in graph.outputs],
        }
    )


async def model_ready(call: Call) -> Response:
    """Says whether a model can answer; 503 while it cannot."""
    try:
        find_graph(call)
        ready = not call.service.lifecycle.draining
    except NotReady:
        ready = False
    facts = {"name": str(call.path_params["model"]), "ready": ready}
    return json_answer(facts, status=200 if ready else 503)


def find_graph(call: Call) -> Graph:
    """The graph that the path names.

    Raises:
        UnknownModel, UnknownVersion, NotFound, NotReady: as for every route.
    """
    registry, name = call.service.registry, str(call.path_params["model"])
    owner, operation = _owner(registry, name)
    version = call.path_params.get("version")
    number = None if version is None else _version(str(version))
    return Graph(name, registry.get(owner, number), operation)


def _owner(registry: Registry, name: str) -> tuple[str, Operation]:
    """The model that a name belongs to; one that is really called so comes first."""
    known = registry.names()
    if name in known or not known:
        return name, "encode"
    for suffix, operation in _SUFFIXES.items():
        owner = name.removesuffix(suffix)
        if owner != name and owner in known:
            return owner, operation
    raise UnknownModel(name, [*known, *(f"{one}{suffix}" for one in known for suffix in _SUFFIXES)])


def _version(text: str) -> int:
    if text.isascii() and text.isdecimal() and len(text) <= _LARGEST_VERSION:
        return int(text)
    raise NotFound(
        f"a version must be a whole number; got `{shorten(text)}`; leave `/versions/…` out for "
        "the highest one"
    )


async def _read(call: Call, graph: Graph, body: bytes, header_length: bytes | None) -> Inference:
    is_json = header_length is None
    if len(body) <= (LARGE_JSON_BYTES if is_json else LARGE_TENSOR_BYTES):
        return read_inference(graph, body, header_length)
    load = Load("oip json" if is_json else "oip tensor", len(body), call.record.deadline_s)
    return await call.service.intake.run(load, read_inference, graph, body, header_length)


async def _run(call: Call, graph: Graph, inference: Inference) -> dict[str, Array]:
    """Every output by its name."""
    record, plane = call.record, call.service.plane
    if inference.timeout_s is not None and record.deadline_s is not None:
        record.deadline_s = min(record.deadline_s, record.started_s + inference.timeout_s)
    if graph.operation == "decode":
        (spec,) = graph.outputs
        return {spec.name: await plane.decode(graph.model, inference.rows, record)}
    mu, logvar = await plane.encode(graph.model, inference.rows, record)
    call.service.metrics.models.observe_mu(graph.model.name, graph.model.version, mu)
    return {"mu": mu, "logvar": logvar}


def _answer(graph: Graph, inference: Inference, arrays: dict[str, Array]) -> Ready:
    facts = {"model_name": graph.name, "model_version": str(graph.model.version)}
    if inference.id is not None:
        facts["id"] = inference.id
    outputs = [Output(spec, arrays[spec.name], binary) for spec, binary in inference.wanted]
    body, json_bytes = write_answer(facts, outputs)
    if json_bytes is None:
        return Ready(body, "application/json")
    return Ready(body, OCTETS, headers=[(HEADER_LENGTH, b"%d" % json_bytes)])


def _facts(spec: TensorSpec) -> dict[str, Any]:
    return {"name": spec.name, "datatype": spec.datatype, "shape": spec.shape}
