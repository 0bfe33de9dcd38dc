"""`POST /encode` in every input and output form."""

import base64
from typing import Any

import httpx
import numpy as np
import pytest

from service.api.schemas import EncodeAnswer
from tests.service.conftest import RELEVANT, as_file, as_npy, from_npy, picture
from tests.service.tiny_model import TinyWeights

PNG = {"Content-Type": "image/png"}


def _expected(weights: TinyWeights, *pictures: Any) -> tuple[Any, Any]:
    mu, logvar = weights.encode(np.stack(pictures)[:, None])
    return mu[:, RELEVANT], np.exp(logvar[:, RELEVANT] / 2)


def _form(pixels: Any, kind: str) -> dict[str, Any]:
    png = as_file(pixels)
    text = base64.b64encode(png).decode()
    return {
        "png": {"content": png, "headers": PNG},
        "bmp": {"content": as_file(pixels, "BMP"), "headers": {"Content-Type": "image/bmp"}},
        "webp": {
            "content": as_file(pixels, "WEBP", lossless=True),
            "headers": {"Content-Type": "image/webp"},
        },
        "multipart": {"files": [("images", ("a.png", png, "image/png"))]},
        "json": {"json": {"images": [text]}},
        "npy": {"content": as_npy(pixels[None]), "headers": {"Content-Type": "application/x-npy"}},
        "npy with channels": {
            "content": as_npy(pixels[None, ..., None]),
            "headers": {"Content-Type": "application/x-npy; version=1"},
        },
        "float npy": {
            "content": as_npy((pixels[None] / 255).astype(np.float32)),
            "headers": {"Content-Type": "Application/X-NPY"},
        },
    }[kind]


@pytest.mark.parametrize(
    "kind",
    ["png", "bmp", "webp", "multipart", "json", "npy", "npy with channels", "float npy"],
)
async def test_encode_reads_each_lossless_form_alike(
    client: httpx.AsyncClient, weights: TinyWeights, kind: str
) -> None:
    pixels = picture(3)
    mu, sigma = _expected(weights, pixels)

    answer = await client.post("/encode", **_form(pixels, kind))

    assert answer.status_code == 200, answer.text
    np.testing.assert_allclose(answer.json()["mu"], mu, atol=1e-4)
    np.testing.assert_allclose(answer.json()["sigma"], sigma, atol=1e-4)


async def test_encode_reads_a_jpeg_as_well_as_jpeg_allows(
    client: httpx.AsyncClient, weights: TinyWeights
) -> None:
    pixels = np.full((16, 16), 90, np.uint8)
    mu, _ = _expected(weights, pixels)

    answer = await client.post(
        "/encode",
        content=as_file(pixels, "JPEG", quality=100),
        headers={"Content-Type": "image/jpeg"},
    )

    np.testing.assert_allclose(answer.json()["mu"], mu, atol=0.1)


async def test_encode_answers_the_relevant_dims_in_order_of_relevance(
    client: httpx.AsyncClient,
) -> None:
    answer = await client.post("/encode", content=as_file(picture()), headers=PNG)

    encoded = EncodeAnswer.model_validate(answer.json(), strict=True)
    assert (encoded.model, encoded.version) == ("tiny", 1)
    assert encoded.dims == RELEVANT
    assert encoded.names == ["x position", "scale"]
    assert encoded.relevance == pytest.approx([0.97, 0.99])
    assert encoded.resized is False


@pytest.mark.parametrize(
    ("query", "dims"),
    [
        ("dims=all", [0, 1, 2, 3]),
        ("dims=relevant", [2, 0]),
        ("dims=3,1", [3, 1]),
        ("dims=scale,3", [0, 3]),
        ("dims=x%20position", [2]),
        ("top_k=1", [2]),
        ("threshold=0.98", [0]),
        ("dims=all&threshold=0.5&top_k=1", [0]),
        ("threshold=1", []),
    ],
)
async def test_encode_answers_the_dims_that_the_query_asks_for(
    client: httpx.AsyncClient, query: str, dims: list[int]
) -> None:
    answer = await client.post(f"/encode?{query}", content=as_file(picture()), headers=PNG)

    assert answer.json()["dims"] == dims
    assert len(answer.json()["mu"][0]) == len(dims)


async def test_encode_takes_its_options_in_a_json_body_as_well(client: httpx.AsyncClient) -> None:
    images = {"images": [base64.b64encode(as_file(picture())).decode()]}

    chosen = await client.post("/encode", json={**images, "dims": [3, "scale"]})
    first = await client.post("/encode?dims=all", json={**images, "threshold": 0.5, "top_k": 1})
    plain = await client.post("/encode", json=images)

    assert [answer.json()["dims"] for answer in (chosen, first, plain)] == [[3, 0], [0], RELEVANT]


async def test_encode_keeps_the_order_of_several_images(
    client: httpx.AsyncClient, weights: TinyWeights
) -> None:
    pictures = [picture(seed) for seed in range(5)]
    files = [("images", (f"{i}.png", as_file(p), "image/png")) for i, p in enumerate(pictures)]
    mu, _ = _expected(weights, *pictures)

    answer = await client.post("/encode", files=files)

    np.testing.assert_allclose(answer.json()["mu"], mu, atol=1e-4)


async def test_encode_answers_npy_on_demand(
    client: httpx.AsyncClient, weights: TinyWeights
) -> None:
    pictures = np.stack([picture(seed) for seed in range(3)])

    answer = await client.post(
        "/encode?dims=all",
        content=as_npy(pictures),
        headers={"Content-Type": "application/x-npy", "Accept": "application/x-npy"},
    )

    assert answer.headers["content-type"] == "application/x-npy"
    mu = from_npy(answer.content)
    assert mu.dtype == np.float32
    np.testing.assert_allclose(mu, weights.encode(pictures[:, None])[0], atol=1e-4)


async def test_encode_says_that_it_resized(client: httpx.AsyncClient) -> None:
    large = as_file(picture(size=40))

    as_json = await client.post("/encode", content=large, headers=PNG)
    as_array = await client.post(
        "/encode", content=large, headers={**PNG, "Accept": "application/x-npy"}
    )

    assert as_json.json()["resized"] is True
    assert as_array.headers["x-resized"] == "true"


async def test_encode_turns_color_to_gray(client: httpx.AsyncClient, weights: TinyWeights) -> None:
    gray = picture(5)
    mu, _ = _expected(weights, gray)

    answer = await client.post(
        "/encode", content=as_file(np.stack([gray] * 3, axis=-1)), headers=PNG
    )

    np.testing.assert_allclose(answer.json()["mu"], mu, atol=1e-2)
    assert answer.json()["resized"] is False


async def test_encode_names_the_model_the_request_and_the_stages(
    client: httpx.AsyncClient,
) -> None:
    answer = await client.post(
        "/encode", content=as_file(picture()), headers={**PNG, "X-Request-ID": "mine"}
    )

    assert answer.headers["x-request-id"] == "mine"
    assert (answer.headers["x-model"], answer.headers["x-model-version"]) == ("tiny", "1")
    stages = [part.split(";")[0].strip() for part in answer.headers["server-timing"].split(",")]
    assert stages == ["decode", "queue", "infer", "encode", "total"]


async def test_encode_takes_model_and_version_from_the_query(client: httpx.AsyncClient) -> None:
    answer = await client.post(
        "/encode?model=tiny&version=1", content=as_file(picture()), headers=PNG
    )

    assert answer.status_code == 200


async def test_encode_gives_the_same_answer_twice(client: httpx.AsyncClient) -> None:
    first, second = [
        await client.post("/encode", content=as_file(picture()), headers=PNG) for _ in range(2)
    ]

    assert first.content == second.content


async def test_encode_counts_latents_out_of_range(client: httpx.AsyncClient) -> None:
    black = as_file(np.zeros((16, 16), np.uint8))
    white = as_file(np.full((16, 16), 255, np.uint8))
    for content in (black, white):
        await client.post("/encode", content=content, headers=PNG)

    text = (await client.get("/metrics")).text
    counts = [
        float(line.split()[-1])
        for line in text.splitlines()
        if line.startswith("rfvae_latent_out_of_range_total{")
    ]
    assert len(counts) == 4
    assert sum(counts) >= 1
