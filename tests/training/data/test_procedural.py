"""What every drawn set must keep, and the numbers made from an index."""

import math

import pytest
import torch

from training.config import DataConfig
from training.data import DRAWN, ImageSource, open_images
from training.data.procedural import rgb_of_hue, uniform_of
from training.errors import DataError

IMAGE_SETS = [name for name, drawn in DRAWN.items() if drawn.factors is not None]


@pytest.fixture(scope="module", params=IMAGE_SETS)
def source(request: pytest.FixtureRequest) -> ImageSource:
    return open_images(DataConfig(name=request.param, size=32))


def some_indices(source: ImageSource, n: int) -> torch.Tensor:
    return torch.randint(source.n_images, (n,), generator=torch.Generator().manual_seed(5))


def test_set_gives_images_in_range_with_the_announced_shape(source: ImageSource) -> None:
    images = source.images(some_indices(source, 12))
    assert images.shape == (12, *source.image_shape)
    assert images.dtype == torch.float32
    assert float(images.min()) >= 0
    assert 0.5 < float(images.max()) <= 1


def test_set_gives_an_image_whatever_stands_beside_it(source: ImageSource) -> None:
    indices = some_indices(source, 6)
    together = source.images(indices)
    alone = source.images(indices[4:5])
    assert torch.equal(together[4:5], alone)


def test_set_repeats_itself_when_it_is_opened_again(source: ImageSource) -> None:
    again = open_images(DataConfig(name=source.name.removesuffix("-32"), size=32))
    indices = some_indices(source, 4)
    assert torch.equal(again.images(indices), source.images(indices))
    assert again.sha256() == source.sha256()


def test_set_changes_with_each_of_its_factors(source: ImageSource) -> None:
    factors = source.factors
    assert factors is not None
    sizes = torch.tensor(factors.factor_sizes)
    for k, size in enumerate(factors.factor_sizes):
        classes = (sizes // 2).repeat(2, 1)
        # Not the ends: those of an angle are the same.
        classes[:, k] = torch.tensor([0, size // 2 + 1 if size > 2 else 1])
        first, second = source.images(factors.indices_of(classes))
        assert not torch.equal(first, second), factors.factor_names[k]


def test_set_of_another_size_has_another_name_and_hash(source: ImageSource) -> None:
    large = open_images(DataConfig(name=source.name.removesuffix("-32"), size=64))
    assert large.name + "-32" == source.name
    assert large.sha256() != source.sha256()
    assert large.image_shape[1:] == (64, 64)


def test_set_with_a_size_it_has_not_says_which_it_has() -> None:
    with pytest.raises(DataError, match=r"one of the sizes \(32, 64, 128\): got 50"):
        open_images(DataConfig(name="clock-faces", size=50))


def test_uniform_of_is_uniform_and_uncorrelated() -> None:
    numbers = uniform_of(torch.arange(20_000), 3, stream=1).double()
    assert float(numbers.mean()) == pytest.approx(0.5, abs=0.01)
    assert float(numbers.var()) == pytest.approx(1 / 12, abs=0.002)
    off_diagonal = torch.corrcoef(numbers.T) - torch.eye(3)
    neighbors = torch.corrcoef(torch.stack([numbers[:-1, 0], numbers[1:, 0]]))[0, 1]
    assert float(off_diagonal.abs().max()) < 0.03
    assert abs(float(neighbors)) < 0.03


def test_uniform_of_depends_on_the_stream() -> None:
    indices = torch.arange(5)
    assert not torch.equal(uniform_of(indices, 2, stream=1), uniform_of(indices, 2, stream=2))


@pytest.mark.parametrize(
    ("hue", "rgb"), [(0, (1, 0, 0)), (1 / 6, (1, 1, 0)), (1 / 3, (0, 1, 0)), (2 / 3, (0, 0, 1))]
)
def test_rgb_of_hue_goes_round_the_circle(hue: float, rgb: tuple[float, ...]) -> None:
    found = rgb_of_hue(torch.tensor([hue]))[0].tolist()
    assert all(math.isclose(a, b, abs_tol=1e-6) for a, b in zip(found, rgb, strict=True))
