"""The data plane without HTTP: limits, and what each grid shows."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from service.dataplane import DataPlane, Limits, Range
from service.errors import InvalidValue, TooManyRows
from service.models.repository import scan
from service.models.served import LoadOptions, ServedModel, load_model
from service.offload import Offload
from service.runtime.opening import EngineOptions
from tests.service.conftest import picture
from tests.service.tiny_model import TinyWeights


@dataclass
class Job:
    """A caller's work."""

    deadline_s: float | None = None
    rows: int = 0
    queue_s: float = 0.0
    infer_s: float = 0.0
    batch_rows: int = 0
    origin: object = None


@pytest.fixture
async def model(repository: Path) -> AsyncIterator[ServedModel]:
    (found,) = scan([repository])
    loaded = load_model(found, LoadOptions(EngineOptions(device="cpu", lanes=1)))
    yield loaded
    await loaded.drain()


@pytest.fixture
def plane() -> DataPlane:
    return DataPlane(Limits(max_rows=12, max_steps=8, max_bytes=2**20), Offload(1))


async def test_encode_adds_up_rows_and_times(plane: DataPlane, model: ServedModel) -> None:
    job = Job()
    for _ in range(2):
        await plane.encode(model, np.stack([picture()] * 3)[:, None], job)

    assert job.rows == 6
    assert job.infer_s > 0


async def test_encode_refuses_rows_over_the_limit(plane: DataPlane, model: ServedModel) -> None:
    with pytest.raises(TooManyRows, match=r"must not have over 12 rows .* got 13"):
        await plane.encode(model, np.zeros((13, 1, 16, 16), np.uint8), Job())


async def test_decode_refuses_rows_that_would_become_too_many_bytes(model: ServedModel) -> None:
    plane = DataPlane(Limits(max_rows=12, max_steps=8, max_bytes=9 * 16 * 16 * 4), Offload(1))
    job = Job()
    assert len(await plane.decode(model, np.zeros((9, 4), np.float32), job)) == 9
    refusal = "may have 9216 bytes at most as the model takes and gives them; got 10240"
    with pytest.raises(TooManyRows, match=refusal):
        await plane.decode(model, np.zeros((10, 4), np.float32), job)
    with pytest.raises(TooManyRows, match=refusal):
        await plane.reconstruct(model, np.zeros((10, 1, 16, 16), np.uint8), job)


async def test_traverse_refuses_frames_over_the_row_limit(
    plane: DataPlane, model: ServedModel
) -> None:
    with pytest.raises(TooManyRows, match="got 28"):
        await plane.traverse(model, model.space.mu_mean, "all", Range(7), Job())


@pytest.mark.parametrize("steps", [0, 1, 9])
async def test_traverse_refuses_steps_out_of_range(
    plane: DataPlane, model: ServedModel, steps: int
) -> None:
    with pytest.raises(InvalidValue, match=f"`steps` must be 2 to 8; got {steps}"):
        await plane.traverse(model, model.space.mu_mean, "all", Range(steps), Job())


async def test_traverse_changes_one_dimension_a_row(
    plane: DataPlane, model: ServedModel, weights: TinyWeights
) -> None:
    base = np.array([0.1, 0.2, 0.3, 0.4], np.float32)
    grid = await plane.traverse(model, base, (3, "scale"), Range(3, -2.0, 2.0), Job())

    latents = np.tile(base, (2, 3, 1))
    latents[0, :, 3] = latents[1, :, 0] = [-2, 0, 2]
    expected = weights.decode(latents.reshape(-1, 4)).reshape(2, 3, 1, 16, 16)
    np.testing.assert_allclose(grid.frames, expected, atol=1e-5)
    assert [(row.dim, row.values) for row in grid.rows] == [
        (3, (-2.0, 0.0, 2.0)),
        (0, (-2.0, 0.0, 2.0)),
    ]


async def test_factors_give_each_image_a_bound_and_its_place(
    plane: DataPlane, model: ServedModel
) -> None:
    images = np.stack([picture(seed) for seed in range(5)])[:, None]

    found = await plane.factors(model, images, Job())

    assert found.mu.shape == found.percentile.shape == found.kl.shape == (5, 2)
    assert found.all_mu.shape == (5, 4)
    assert found.elbo.shape == found.novelty.shape == (5,)
    order = np.argsort(found.elbo)
    assert (np.diff(found.novelty[order]) <= 0).all()


async def test_factors_of_many_images_are_the_same_as_of_few(
    plane: DataPlane, model: ServedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = np.stack([picture(seed) for seed in range(4)])[:, None]
    few = await plane.factors(model, images, Job())
    monkeypatch.setattr("service.dataplane.LARGE_PIXELS", 0)

    many = await plane.factors(model, images, Job())

    np.testing.assert_allclose(many.elbo, few.elbo)


async def test_swap_shows_both_and_the_first_with_dims_of_the_second(
    plane: DataPlane, model: ServedModel
) -> None:
    images = np.stack([picture(1), picture(2)])[:, None]

    all_swapped = await plane.swap(model, images, "all", Job())

    np.testing.assert_allclose(all_swapped.frames[0, 2], all_swapped.frames[0, 1], atol=1e-6)


async def test_reconstruct_shows_the_image_as_the_model_got_it(
    plane: DataPlane, model: ServedModel
) -> None:
    images = picture(1)[None, None]

    grid = await plane.reconstruct(model, images, Job())

    np.testing.assert_allclose(grid.frames[0, 0] * 255, images[0], atol=1e-4)


async def test_interpolate_refuses_one_image(plane: DataPlane, model: ServedModel) -> None:
    with pytest.raises(InvalidValue, match="takes two images; got 1"):
        await plane.interpolate(model, picture()[None, None], 3, Job())
