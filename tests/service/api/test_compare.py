"""`/reconstruct`, `/interpolate` and `/swap`."""

import base64
from typing import Any

import httpx
import numpy as np
import pytest

from service.api.schemas import GridAnswer
from tests.service.conftest import as_file, as_npy, from_npy, picture
from tests.service.tiny_model import TinyWeights

NPY = {"Accept": "application/x-npy"}
JSON = {"Accept": "application/json"}
FIRST, SECOND = picture(1), picture(2)


def _files(*pictures: Any) -> list[tuple[str, tuple[str, bytes, str]]]:
    return [("images", (f"{i}.png", as_file(p), "image/png")) for i, p in enumerate(pictures)]


def _levels(weights: TinyWeights, latents: Any) -> Any:
    return np.rint(weights.decode(np.asarray(latents, np.float32))[:, 0] * 255)


def _means(weights: TinyWeights) -> Any:
    return weights.encode(np.stack([FIRST, SECOND])[:, None])[0]


def _close(frames: Any, expected: Any) -> None:
    assert frames.shape == expected.shape
    assert np.abs(frames - expected).max() <= 1


async def test_reconstruct_shows_original_and_reconstruction(
    client: httpx.AsyncClient, weights: TinyWeights
) -> None:
    answer = await client.post("/reconstruct", files=_files(FIRST, SECOND), headers=NPY)

    frames = from_npy(answer.content)[..., 0]
    assert answer.headers["x-grid"] == "2,2"
    np.testing.assert_array_equal(frames[:, 0], [FIRST, SECOND])
    _close(frames[:, 1], _levels(weights, _means(weights)))


async def test_reconstruct_takes_a_raw_image(client: httpx.AsyncClient) -> None:
    answer = await client.post(
        "/reconstruct", content=as_file(FIRST), headers={"Content-Type": "image/png", **JSON}
    )

    grid = GridAnswer.model_validate(answer.json())
    assert grid.columns == ["original", "reconstruction"]
    assert [row.name for row in grid.rows] == ["image 0"]


async def test_interpolate_walks_from_the_first_to_the_second(
    client: httpx.AsyncClient, weights: TinyWeights
) -> None:
    answer = await client.post("/interpolate?steps=3", files=_files(FIRST, SECOND), headers=NPY)

    first, second = _means(weights)
    latents = [first, (first + second) / 2, second]
    assert answer.headers["x-grid"] == "1,3"
    _close(from_npy(answer.content)[0, ..., 0], _levels(weights, latents))


async def test_interpolate_has_eleven_steps_by_default(client: httpx.AsyncClient) -> None:
    answer = await client.post("/interpolate", files=_files(FIRST, SECOND))

    assert (answer.headers["content-type"], answer.headers["x-grid"]) == ("image/png", "1,11")


@pytest.mark.parametrize("form", ["query", "json", "npy"])
async def test_swap_takes_dims_from_the_second(
    client: httpx.AsyncClient, weights: TinyWeights, form: str
) -> None:
    texts = [base64.b64encode(as_file(p)).decode() for p in (FIRST, SECOND)]
    requests: dict[str, dict[str, Any]] = {
        "query": {"url": "/swap?dims=x position,3", "files": _files(FIRST, SECOND)},
        "json": {"url": "/swap", "json": {"images": texts, "dims": ["x position", 3]}},
        "npy": {"url": "/swap?dims=2,3", "content": as_npy(np.stack([FIRST, SECOND]))},
    }
    kind = {"Content-Type": "application/x-npy"} if form == "npy" else {}

    answer = await client.post(**requests[form], headers={**NPY, **kind})

    first, second = _means(weights)
    swapped = first.copy()
    swapped[[2, 3]] = second[[2, 3]]
    assert answer.status_code == 200, answer.text
    _close(from_npy(answer.content)[0, ..., 0], _levels(weights, [first, second, swapped]))


async def test_swap_says_what_its_columns_show(client: httpx.AsyncClient) -> None:
    answer = await client.post("/swap?dims=0", files=_files(FIRST, SECOND), headers=JSON)

    grid = GridAnswer.model_validate(answer.json())
    assert grid.columns == ["first", "second", "swapped"]
    assert grid.rows[0].name == "scale from the second"


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("/interpolate", "this route takes two images; got 1; send them as two multipart parts"),
        ("/swap?dims=0", "this route takes two images; got 1"),
        ("/swap", "`dims` must name what to take from the second image; got none"),
    ],
)
async def test_compare_refuses_what_is_missing(
    client: httpx.AsyncClient, path: str, text: str
) -> None:
    answer = await client.post(path, files=_files(FIRST))

    assert answer.status_code == 422
    assert text in answer.json()["detail"]


async def test_interpolate_refuses_steps_in_query_and_body(client: httpx.AsyncClient) -> None:
    texts = [base64.b64encode(as_file(p)).decode() for p in (FIRST, SECOND)]

    answer = await client.post("/interpolate?steps=3", json={"images": texts, "steps": 4})

    assert answer.status_code == 422
    assert answer.json()["detail"] == (
        "`steps` must stand in the query or in the body; got it in both"
    )
