"""`POST /decode` in every input and output form."""

import base64
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from service.api.schemas import DecodeAnswer
from tests.service.conftest import (
    RELEVANT,
    StartService,
    as_file,
    as_npy,
    from_npy,
    open_image,
    picture,
)
from tests.service.tiny_model import TinyWeights, write_tiny_repository

MEAN = np.array([0.0, 0.25, 0.5, 0.75], np.float32)  # of mu over the training set
NPY = "application/x-npy"


def _levels(weights: TinyWeights, latents: Any) -> Any:
    decoded = weights.decode(np.asarray(latents, np.float32))
    return np.rint(decoded * 255).astype(np.uint8)[:, 0]  # (n, height, width)


def _close(got: Any, expected: Any) -> None:
    assert got.shape == expected.shape
    assert np.abs(got.astype(int) - expected.astype(int)).max() <= 1


async def test_decode_answers_one_png(client: httpx.AsyncClient, weights: TinyWeights) -> None:
    row = [0.5, -1.0, 2.0, 0.0]

    answer = await client.post("/decode", json={"latents": [row]})

    assert answer.headers["content-type"] == "image/png"
    assert "x-grid" not in answer.headers
    _close(np.asarray(open_image(answer.content)), _levels(weights, [row])[0])


@pytest.mark.parametrize(
    ("body", "dims"),
    [
        ({"latents": [[1.0, -2.0]]}, RELEVANT),
        ({"latents": [[1.0]], "dims": [3]}, [3]),
        ({"latents": [[1.0, -2.0]], "dims": ["scale", 1]}, [0, 1]),
        ({"latents": [[1.0, -2.0]], "dims": "relevant"}, RELEVANT),
    ],
)
async def test_decode_completes_rows_with_the_training_mean(
    client: httpx.AsyncClient, weights: TinyWeights, body: dict[str, Any], dims: list[int]
) -> None:
    full = MEAN.copy()
    full[dims] = body["latents"][0]

    answer = await client.post("/decode", json=body, headers={"Accept": NPY})

    _close(from_npy(answer.content)[..., 0], _levels(weights, full[None]))


async def test_decode_takes_dims_from_the_query_for_npy_and_json(
    client: httpx.AsyncClient, weights: TinyWeights
) -> None:
    full = MEAN.copy()
    full[3] = 1.0
    forms: list[dict[str, Any]] = [
        {"json": {"latents": [[1.0]]}, "headers": {"Accept": NPY}},
        {
            "content": as_npy(np.ones((1, 1), np.float32)),
            "headers": {"Accept": NPY, "Content-Type": NPY},
        },
    ]
    for form in forms:
        answer = await client.post("/decode?dims=3", **form)
        _close(from_npy(answer.content)[..., 0], _levels(weights, full[None]))


@pytest.mark.parametrize("dtype", ["<f4", "<f8", ">f4"])
async def test_decode_reads_npy(
    client: httpx.AsyncClient, weights: TinyWeights, dtype: str
) -> None:
    latents = np.random.default_rng(0).standard_normal((3, 4)).astype(dtype)

    answer = await client.post(
        "/decode", content=as_npy(latents), headers={"Content-Type": NPY, "Accept": NPY}
    )

    images = from_npy(answer.content)
    assert (images.shape, images.dtype) == ((3, 16, 16, 1), np.uint8)
    _close(images[..., 0], _levels(weights, latents))


@pytest.mark.parametrize(("rows", "grid"), [(2, "1,2"), (3, "2,2"), (5, "2,3"), (9, "3,3")])
async def test_decode_lays_several_rows_out_in_a_grid(
    client: httpx.AsyncClient, rows: int, grid: str
) -> None:
    answer = await client.post("/decode", json={"latents": [[0.0, 0.0]] * rows})

    assert answer.headers["x-grid"] == grid
    rows_of_grid, columns = map(int, grid.split(","))
    assert open_image(answer.content).size == (columns * 18 - 2, rows_of_grid * 18 - 2)


async def test_decode_answers_base64_in_json(
    client: httpx.AsyncClient, weights: TinyWeights
) -> None:
    latents = [[0.0, 0.0, 0.0, 0.0], [1.0, 1.0, 1.0, 1.0]]

    answer = await client.post(
        "/decode", json={"latents": latents}, headers={"Accept": "application/json"}
    )

    images = DecodeAnswer.model_validate(answer.json(), strict=True).images
    pixels = np.stack([np.asarray(open_image(base64.b64decode(text))) for text in images])
    _close(pixels, _levels(weights, latents))


async def test_where_all_is_relevant_rows_come_back_in_the_order_that_is_said(
    start_service: StartService, tmp_path: Path
) -> None:
    repository = write_tiny_repository(tmp_path / "all", relevant_dims=(2, 0, 3, 1))
    png, as_array = as_file(picture()), {"Accept": NPY}
    async with start_service(model_repository=(repository,)) as started:
        client = started.client
        encoded = await client.post("/encode", content=png, headers={"Content-Type": "image/png"})
        rows = encoded.json()["mu"]
        by_relevance = {"latents": rows, "dims": "relevant"}
        decoded = await client.post("/decode", json=by_relevance, headers=as_array)
        refused = await client.post("/decode", json={"latents": rows})
        in_order = [[rows[0][encoded.json()["dims"].index(dim)] for dim in range(4)]]
        full = await client.post("/decode?dims=all", json={"latents": in_order}, headers=as_array)
        walked = await client.post("/traverse", json={"latents": in_order})

    assert refused.status_code == 422
    assert "in which order a row is" in refused.json()["detail"]
    assert (from_npy(decoded.content) == from_npy(full.content)).all()
    assert walked.status_code == 200
