"""The Open Inference Protocol through the HTTP door: right answers, its own errors, overload."""

import asyncio
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import numpy.typing as npt
import orjson
import pytest

from service.api.oip_schemas import InferAnswer, ModelMetadata
from service.models.registry import Registry
from tests.service.conftest import Gate, StartService, as_file, picture
from tests.service.tiny_model import TinyWeights, write_tiny_model
from tests.service.tiny_rows import RowWeights, write_tiny_rows

INFER = "/v2/models/tiny/infer"
DECODE = "/v2/models/tiny-decoder/infer"
Array = npt.NDArray[Any]


def _images(n: int = 2) -> Array:
    return np.stack([picture(seed) for seed in range(n)])[:, None]


def _request(name: str, array: Array, **rest: Any) -> dict[str, Any]:
    datatype = "UINT8" if array.dtype == np.uint8 else "FP32"
    tensor = {"name": name, "shape": array.shape, "datatype": datatype}
    return {"inputs": [{**tensor, "data": array.ravel().tolist()}], **rest}


def _binary(name: str, array: Array, **rest: Any) -> dict[str, Any]:
    request = _request(name, array, **rest)
    del request["inputs"][0]["data"]
    request["inputs"][0]["parameters"] = {"binary_data_size": array.nbytes}
    text = orjson.dumps(request)
    headers = {"Inference-Header-Content-Length": str(len(text))}
    return {"content": text + array.tobytes(), "headers": headers}


def _outputs(answer: httpx.Response) -> dict[str, Array]:
    """Every output, from JSON or from the bytes behind it."""
    length = int(answer.headers.get("inference-header-content-length", len(answer.content)))
    parsed = InferAnswer.model_validate(orjson.loads(answer.content[:length]))
    content, arrays = answer.content[length:], {}
    for output in parsed.outputs:
        if output.data is None:
            size = (output.parameters or {})["binary_data_size"]
            flat, content = np.frombuffer(content[:size], "<f4"), content[size:]
        else:
            flat = np.array(output.data, np.float32)
        arrays[output.name] = flat.reshape(output.shape)
    assert content == b""
    return arrays


@pytest.mark.parametrize("name", ["tiny", "tiny-encoder", "tiny/versions/1"])
@pytest.mark.parametrize("form", ["json", "binary in", "binary out", "binary both", "raw"])
async def test_infer_encodes_in_every_form(
    client: httpx.AsyncClient, weights: TinyWeights, name: str, form: str
) -> None:
    images = _images()
    out = {"parameters": {"binary_data_output": "out" in form or "both" in form}}
    requests: dict[str, dict[str, Any]] = {
        "json": {"json": _request("image", images)},
        "binary in": _binary("image", images, **out),
        "binary out": {"json": _request("image", images, **out)},
        "binary both": _binary("image", images, **out),
        "raw": {
            "content": images.tobytes(),
            "headers": {"Inference-Header-Content-Length": "0"},
        },
    }

    answer = await client.post(f"/v2/models/{name}/infer", **requests[form])

    assert answer.status_code == 200, answer.text
    mu, logvar = weights.encode(images)
    outputs = _outputs(answer)
    np.testing.assert_allclose(outputs["mu"], mu, atol=1e-4)
    np.testing.assert_allclose(outputs["logvar"], logvar, atol=1e-4)
    binary = form in ("binary out", "binary both", "raw")
    assert ("inference-header-content-length" in answer.headers) is binary
    media_type = "application/octet-stream" if binary else "application/json"
    assert answer.headers["content-type"] == media_type


async def test_infer_decodes(client: httpx.AsyncClient, weights: TinyWeights) -> None:
    z = np.array([[0, 1, -1, 2], [1, 1, 1, 1]], np.float32)

    answer = await client.post(DECODE, json=_request("z", z))

    np.testing.assert_allclose(_outputs(answer)["image"], weights.decode(z), atol=1e-4)


async def test_infer_gives_only_the_outputs_that_are_wanted(client: httpx.AsyncClient) -> None:
    wanted = [{"name": "logvar"}, {"name": "mu", "parameters": {"binary_data": True}}]

    answer = await client.post(INFER, json=_request("image", _images(), outputs=wanted))
    one = await client.post(INFER, json=_request("image", _images(), outputs=wanted[:1]))

    assert list(_outputs(answer)) == ["logvar", "mu"]
    assert list(_outputs(one)) == ["logvar"]


async def test_infer_echoes_the_id_and_names_the_model(client: httpx.AsyncClient) -> None:
    answer = await client.post(INFER, json=_request("image", _images(), id="my id"))

    parsed = answer.json()
    assert (parsed["id"], parsed["model_name"], parsed["model_version"]) == ("my id", "tiny", "1")
    assert (answer.headers["x-model"], answer.headers["x-model-version"]) == ("tiny", "1")
    assert answer.headers["server-timing"].startswith("decode;dur=")


async def test_infer_counts_as_an_operation_with_drift(client: httpx.AsyncClient) -> None:
    await client.post(INFER, json=_request("image", _images()))
    await client.post(INFER, json={})

    text = (await client.get("/metrics")).text
    assert 'rfvae_requests_total{operation="oip",outcome="ok"} 1.0' in text
    assert 'rfvae_requests_total{operation="oip",outcome="bad_request"} 1.0' in text
    assert 'rfvae_images_total{model="tiny"} 2.0' in text


BAD = {
    "no JSON": (b"\x89PNG", {}, 400, "a body of `application/json` must be JSON"),
    "no inputs": ({}, {}, 422, "field `inputs` must be given; got none"),
    "two inputs": (
        {"inputs": _request("image", _images())["inputs"] * 2},
        {},
        422,
        "`inputs` of model `tiny` must be `image` alone; got `image`, `image`",
    ),
    "another input": (
        _request("z", np.zeros((1, 4), np.float32)),
        {},
        422,
        "must be `image` alone; got `z`; NAME-decoder takes `z`, NAME-encoder what was encoded",
    ),
    "another type": (
        {"inputs": [{"name": "image", "shape": [1], "datatype": "INT64", "data": [1]}]},
        {},
        422,
        "`datatype` of input `image` must be `UINT8`; got `INT64`",
    ),
    "negative length": (
        {"inputs": [{"name": "image", "shape": [-1], "datatype": "UINT8", "data": [1]}]},
        {},
        422,
        "field `inputs.0.shape.0`: input should be greater than or equal to 0; got `-1`",
    ),
    "no data": (
        {"inputs": [{"name": "image", "shape": [1, 1, 16, 16], "datatype": "UINT8"}]},
        {},
        422,
        "must have `data`, or `binary_data_size` among its `parameters`; got neither",
    ),
    "shared memory": (
        {
            "inputs": [
                {
                    "name": "image",
                    "shape": [1, 1, 16, 16],
                    "datatype": "UINT8",
                    "parameters": {"shared_memory_region": "mine"},
                }
            ]
        },
        {},
        422,
        "`shared_memory_region` is not offered here",
    ),
    "classification": (
        _request("image", _images(), outputs=[{"name": "mu", "parameters": {"classification": 3}}]),
        {},
        422,
        "`classification` is not offered here",
    ),
    "unknown output": (
        _request("image", _images(), outputs=[{"name": "sigma"}]),
        {},
        422,
        "`outputs` of model `tiny` must be of `mu`, `logvar`, each once; got `sigma`",
    ),
    "flag that is none": (
        _request("image", _images(), parameters={"binary_data_output": "yes"}),
        {},
        422,
        "`binary_data_output` must be true or false; got `yes`",
    ),
    "time-out that is none": (
        _request("image", _images(), parameters={"timeout": "soon"}),
        {},
        422,
        "`timeout` must be a whole number of microseconds; got `soon`",
    ),
    "bytes that nobody claims": (
        orjson.dumps(_request("image", _images(1))) + b"more",
        {"Inference-Header-Content-Length": str(len(orjson.dumps(_request("image", _images(1)))))},
        400,
        "behind the JSON there must be 0 bytes, as `binary_data_size` says; got 4",
    ),
    "header beyond the body": (
        b"{}",
        {"Inference-Header-Content-Length": "3"},
        400,
        "must not be above the body's 2 bytes; got 3",
    ),
    "compressed": (b"x", {"Content-Encoding": "gzip"}, 415, "`Content-Encoding` must be left out"),
    "too many rows": (
        _request("image", np.zeros((9, 1, 16, 16), np.uint8)),
        {},
        413,
        "a request must not have over 8 rows",
    ),
    "time-out header": (b"", {"X-Request-Timeout-Ms": "soon"}, 400, "`X-Request-Timeout-Ms` must"),
}


@pytest.mark.parametrize("case", BAD.values(), ids=BAD.keys())
async def test_infer_refuses_in_the_form_of_the_protocol(
    start_service: StartService, case: tuple[Any, dict[str, str], int, str]
) -> None:
    body, headers, status, text = case
    content = body if isinstance(body, bytes) else orjson.dumps(body)

    async with start_service(max_rows=8) as started:
        answer = await started.client.post(INFER, content=content, headers=headers)

    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/json"
    assert list(answer.json()) == ["error"]
    assert text in answer.json()["error"]


@pytest.mark.parametrize(
    ("method", "path", "status", "text"),
    [
        (
            "GET",
            "/v2/models/huge",
            404,
            "must be one of `tiny`, `tiny-encoder`, `tiny-decoder`; got `huge`",
        ),
        ("GET", "/v2/models/tiny/versions/7", 404, "must be one of `1`; got `7`"),
        ("GET", "/v2/models/tiny/versions/x/ready", 404, "a version must be a whole number"),
        ("GET", "/v2/models", 404, "the path must be one of this service"),
        ("PUT", "/v2", 405, "this path takes GET"),
        ("POST", "/v2/repository/index", 404, "the path must be one of this service"),
    ],
)
async def test_v2_errors_have_the_form_of_the_protocol(
    client: httpx.AsyncClient, method: str, path: str, status: int, text: str
) -> None:
    answer = await client.request(method, path)

    assert answer.status_code == status
    assert list(answer.json()) == ["error"]
    assert text in answer.json()["error"]


async def test_body_over_the_limit_is_refused_in_the_form_of_the_protocol(
    start_service: StartService,
) -> None:
    async with start_service(max_body_bytes=1024) as started:
        answer = await started.client.post(INFER, content=bytes(2000))

    assert answer.status_code == 413
    assert "a body must not be over 1024 bytes; got 2000" in answer.json()["error"]


async def test_metadata_says_what_the_graphs_take_and_give(client: httpx.AsyncClient) -> None:
    encoder = ModelMetadata.model_validate((await client.get("/v2/models/tiny")).json())
    decoder = ModelMetadata.model_validate(
        (await client.get("/v2/models/tiny-decoder/versions/1")).json()
    )

    assert (encoder.name, encoder.versions, encoder.platform) == ("tiny", ["1"], "onnxruntime_onnx")
    assert [tensor.model_dump() for tensor in [*encoder.inputs, *decoder.inputs]] == [
        {"name": "image", "datatype": "UINT8", "shape": [-1, 1, 16, 16]},
        {"name": "z", "datatype": "FP32", "shape": [-1, 4]},
    ]
    assert [tensor.name for tensor in encoder.outputs] == ["mu", "logvar"]
    assert [tensor.model_dump() for tensor in decoder.outputs] == [
        {"name": "image", "datatype": "FP32", "shape": [-1, 1, 16, 16]}
    ]


async def test_server_says_what_it_is(client: httpx.AsyncClient) -> None:
    metadata = (await client.get("/v2")).json()

    assert metadata["name"] == "rfvae"
    assert metadata["extensions"] == ["binary_tensor_data"]
    assert (await client.get("/v2/health/live")).json() == {"live": True}
    assert (await client.get("/v2/health/ready")).json() == {"ready": True}
    ready = await client.get("/v2/models/tiny-decoder/ready")
    assert ready.json() == {"name": "tiny-decoder", "ready": True}


async def test_nothing_is_ready_while_no_model_is(start_service: StartService) -> None:
    def fail(_: object) -> Any:
        raise RuntimeError("broken")

    async with start_service(Registry(fail)) as started:
        answers = [
            await started.client.get(path)
            for path in ("/v2/health/ready", "/v2/models/tiny/ready", "/v2/models/tiny")
        ]

    assert [answer.status_code for answer in answers] == [503, 503, 503]
    assert answers[0].json() == {"ready": False}
    assert answers[1].json() == {"name": "tiny", "ready": False}
    assert "model `tiny` version 1 is not ready" in answers[2].json()["error"]


async def test_model_that_is_really_called_so_comes_first(
    start_service: StartService, tmp_path: Any
) -> None:
    for name in ("tiny", "tiny-decoder"):
        write_tiny_model(tmp_path / name / "1", name=name)

    async with start_service(model_repository=(tmp_path,)) as started:
        metadata = (await started.client.get("/v2/models/tiny-decoder")).json()
        decoder = (await started.client.get("/v2/models/tiny-decoder-decoder")).json()

    assert metadata["inputs"][0]["name"] == "image"
    assert decoder["inputs"][0]["name"] == "z"


async def test_infer_is_refused_at_once_when_the_queue_is_full(
    start_service: StartService, gate: Gate
) -> None:
    request = _request("image", _images(1))
    async with start_service(gate.registry(max_queue_rows=2, max_batch_rows=1)) as started:
        tasks = [asyncio.create_task(started.client.post(INFER, json=request)) for _ in range(12)]
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        refused = next(iter(done)).result()
        gate.opened.set()
        answers = await asyncio.gather(*tasks)

    assert refused.status_code == 429
    assert int(refused.headers["retry-after"]) >= 1
    assert refused.json()["error"].startswith("the queue is full; retry in")
    assert {answer.status_code for answer in answers} == {200, 429}


async def test_infer_ends_at_the_time_out_of_the_request(
    start_service: StartService, gate: Gate
) -> None:
    async with start_service(gate.registry()) as started:
        held = asyncio.create_task(started.client.post(INFER, json=_request("image", _images())))
        await asyncio.to_thread(gate.entered.wait, 30)

        request = _request("image", _images(), parameters={"timeout": 20_000})
        late = await started.client.post(INFER, json=request)
        gate.opened.set()
        assert (await held).status_code == 200

    assert late.status_code == 504
    assert "the answer must be ready before the request's deadline" in late.json()["error"]


async def test_infer_is_refused_while_draining(start_service: StartService) -> None:
    async with start_service() as started:
        await started.service.registry.get().batcher.drain()
        answer = await started.client.post(INFER, json=_request("image", _images()))

    assert answer.status_code == 503
    assert "shutting down" in answer.json()["error"]


async def test_infer_takes_rows_of_numbers(start_service: StartService, tmp_path: Path) -> None:
    rows = np.array([[170, 70, 40], [160, 70.05, 41]], np.float32)

    async with start_service(model_repository=(write_tiny_rows(tmp_path),)) as started:
        metadata = (await started.client.get("/v2/models/rows")).json()
        answer = await started.client.post("/v2/models/rows-encoder/infer", **_binary("row", rows))
        z = RowWeights().encode(rows)[0]
        decoded = await started.client.post("/v2/models/rows-decoder/infer", json=_request("z", z))

    assert metadata["inputs"] == [{"name": "row", "datatype": "FP32", "shape": [-1, 3]}]
    np.testing.assert_allclose(_outputs(answer)["mu"], z, atol=1e-4)
    expected = RowWeights().decode(z)
    np.testing.assert_allclose(_outputs(decoded)["row"], expected, rtol=1e-4)


async def test_infer_agrees_with_encode(client: httpx.AsyncClient) -> None:
    pixels = picture(4)

    mine = await client.post(INFER, json=_request("image", pixels[None, None]))
    theirs = await client.post(
        "/encode?dims=all", content=as_file(pixels), headers={"Content-Type": "image/png"}
    )

    assert _outputs(mine)["mu"].tolist() == pytest.approx(np.array(theirs.json()["mu"]))
