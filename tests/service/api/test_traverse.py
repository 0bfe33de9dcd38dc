"""`POST /traverse`: starts, ranges and output forms."""

import base64
from typing import Any

import httpx
import numpy as np
import pytest

from service.api.schemas import GridAnswer
from tests.service.conftest import as_file, as_npy, from_npy, open_image, picture
from tests.service.tiny_model import TinyWeights

PNG = {"Content-Type": "image/png"}
JSON = {"Accept": "application/json"}
NPY = {"Accept": "application/x-npy"}


async def _rows(client: httpx.AsyncClient, path: str = "/traverse", **request: Any) -> GridAnswer:
    headers = {**request.pop("headers", {}), **JSON}
    answer = await client.post(path, headers=headers, **request)
    assert answer.status_code == 200, answer.text
    return GridAnswer.model_validate(answer.json())


async def test_traverse_answers_a_sprite_grid_of_the_relevant_factors(
    client: httpx.AsyncClient,
) -> None:
    answer = await client.post("/traverse", content=as_file(picture()), headers=PNG)

    assert answer.headers["content-type"] == "image/png"
    assert answer.headers["x-grid"] == "2,11"
    assert open_image(answer.content).size == (11 * 18 - 2, 2 * 18 - 2)


async def test_traverse_walks_over_the_quantiles_of_each_dimension(
    client: httpx.AsyncClient,
) -> None:
    grid = await _rows(client)

    assert [(row.dim, row.name) for row in grid.rows] == [(2, "x position"), (0, "scale")]
    first, second = [row.values for row in grid.rows]
    assert (first[0], first[-1], len(first)) == pytest.approx((0.5 - 2.3, 0.5 + 2.3, 11))
    assert (second[0], second[-1]) == pytest.approx((-2.3, 2.3))
    assert grid.columns == [str(step) for step in range(1, 12)]


async def test_traverse_starts_at_the_image(
    client: httpx.AsyncClient, weights: TinyWeights
) -> None:
    pixels = picture(7)
    mu, _ = weights.encode(pixels[None, None])

    answer = await client.post(
        "/traverse?dims=1&steps=3&low=-1&high=1", content=as_file(pixels), headers={**PNG, **NPY}
    )

    latents = np.repeat(mu, 3, axis=0)
    latents[:, 1] = [-1, 0, 1]
    frames = from_npy(answer.content)
    assert (frames.shape, frames.dtype) == ((1, 3, 16, 16, 1), np.uint8)
    expected = np.rint(weights.decode(latents)[:, 0] * 255)
    assert np.abs(frames[0, ..., 0] - expected).max() <= 1


@pytest.mark.parametrize(
    "request_",
    [
        {"json": {"latents": [[0.0, 0.25, 0.5, 0.75]]}},
        {"json": {"latents": [[0.5, 0.0]]}},
        {"json": {}},
        {
            "content": as_npy(np.array([[0.0, 0.25, 0.5, 0.75]], np.float32)),
            "headers": {"Content-Type": "application/x-npy"},
        },
    ],
)
async def test_traverse_starts_alike_at_the_training_mean(
    client: httpx.AsyncClient, request_: dict[str, Any]
) -> None:
    headers = {**request_.get("headers", {}), **NPY}
    given = await client.post("/traverse", **{**request_, "headers": headers})
    empty = await client.post("/traverse", headers=NPY)

    assert given.status_code == empty.status_code == 200
    assert given.content == empty.content


async def test_traverse_takes_options_from_a_json_body(client: httpx.AsyncClient) -> None:
    text = base64.b64encode(as_file(picture())).decode()
    options = {"dims": ["scale", 3], "steps": 2, "low": -1, "high": 0.5}

    grid = await _rows(client, json={"images": [text], **options})

    assert [row.dim for row in grid.rows] == [0, 3]
    assert [row.values for row in grid.rows] == [[-1.0, 0.5]] * 2


async def test_traverse_takes_a_range_that_falls(client: httpx.AsyncClient) -> None:
    grid = await _rows(client, "/traverse?dims=0&steps=3&low=1&high=-1")

    assert grid.rows[0].values == [1.0, 0.0, -1.0]


async def test_traverse_frames_in_json_are_the_frames_of_the_array(
    client: httpx.AsyncClient,
) -> None:
    grid = await _rows(client, "/traverse?steps=3")
    array = from_npy((await client.post("/traverse?steps=3", headers=NPY)).content)

    for row, frames in zip(grid.rows, array, strict=True):
        for text, frame in zip(row.frames, frames, strict=True):
            np.testing.assert_array_equal(
                np.asarray(open_image(base64.b64decode(text))), frame[..., 0]
            )


@pytest.mark.parametrize("kind", ["image/gif", "image/webp"])
async def test_traverse_answers_an_animation(client: httpx.AsyncClient, kind: str) -> None:
    answer = await client.post("/traverse?steps=5", headers={"Accept": kind})

    assert answer.headers["content-type"] == kind
    image = open_image(answer.content)
    assert getattr(image, "n_frames", 1) == 8  # 5 forth and 3 back
    assert image.size == (16, 2 * 18 - 2)


async def test_traverse_counts_its_frames_as_rows(client: httpx.AsyncClient) -> None:
    answer = await client.post("/traverse?steps=101&dims=all", headers=NPY)

    assert from_npy(answer.content).shape == (4, 101, 16, 16, 1)
