"""Color and noise on sprites."""

import pytest
import torch

from training.config import DataConfig
from training.data import ImageSource, open_images


def opened(name: str) -> ImageSource:
    return open_images(DataConfig(name=name, size=32))


@pytest.fixture(scope="module")
def sprites() -> torch.Tensor:
    return opened("dsprites").images(torch.arange(0, 737_280, 9001))


def test_color_dsprites_paints_the_sprite_in_one_bright_color(sprites: torch.Tensor) -> None:
    images = opened("color-dsprites").images(torch.arange(0, 737_280, 9001))
    colors = images.amax(dim=(2, 3), keepdim=True)
    torch.testing.assert_close(images, sprites * colors)
    assert float(colors.min()) >= 0.5
    assert float(colors.std()) > 0.1


def test_noisy_dsprites_is_noise_off_the_sprite_and_white_on_it(sprites: torch.Tensor) -> None:
    images = opened("noisy-dsprites").images(torch.arange(0, 737_280, 9001))
    ground = images[(sprites == 0).expand_as(images)]
    assert torch.all(images[(sprites == 1).expand_as(images)] == 1)
    assert float(ground.mean()) == pytest.approx(0.5, abs=0.01)
    assert not torch.equal(images[0, 0], images[0, 1])
    assert not torch.equal(images[0], images[1])


def test_color_ovals_have_the_hue_of_their_factor() -> None:
    source = opened("color-oval-dsprites")
    assert source.factors is not None
    indices = source.factors.indices_of(torch.tensor([[0, 5, 0, 16, 16], [15, 5, 0, 16, 16]]))
    red, violet = (image.amax(dim=(1, 2)) for image in source.images(indices))
    assert red.tolist() == [1, 0, 0]
    assert violet[2] == 1
    assert 0.5 < float(violet[0]) < 0.8  # short of the magenta that would lead back to red
