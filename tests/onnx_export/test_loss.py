import re

import numpy as np
import pytest

from onnx_export.errors import ExportError
from onnx_export.inputs import Floats, Samples
from onnx_export.loss import (
    LatentLoss,
    Loss,
    describe,
    measure_loss,
    measure_speed,
    require_small,
)
from service.models.artifact import Dimension, Quantiles


class Shifted:
    """mu is 1 everywhere, sigma 0.5; `shift` is added to mu of dimension 1 and to one pixel."""

    def __init__(self, shift: float = 0.0) -> None:
        self._shift = np.float32(shift)

    def encode(self, images: Samples) -> tuple[Floats, Floats]:
        mu = np.ones((len(images), 2), np.float32)
        mu[0, 1] += self._shift
        return mu, np.full((len(images), 2), 2 * np.log(0.5), np.float32)

    def decode(self, z: Floats) -> Floats:
        pixels = np.zeros((len(z), 1, 2, 2), np.float32)
        pixels[-1, 0, 0, 0] += self._shift
        return pixels


@pytest.fixture
def second() -> Dimension:
    spread = Quantiles(p1=-2, p5=-1, p25=-0.5, p50=0, p75=0.5, p95=1, p99=3)
    return Dimension(
        dim=1,
        name="scale",
        relevance=1,
        relevant=True,
        mean_kl=3,
        mu_mean=0,
        mu_std=1,
        mu_quantiles=spread,
        decoder_sensitivity=1,
    )


def test_measure_loss_gives_posterior_deviations_percent_and_pixels(second: Dimension) -> None:
    images = np.zeros((3, 1, 2, 2), np.uint8)
    loss = measure_loss(Shifted(), Shifted(0.2), images, dimensions=[second])

    (latent,) = loss.latents
    assert latent.name == "scale"
    assert latent.std == pytest.approx(0.2 / 0.5)
    assert latent.percent == pytest.approx(100 * 0.2 / 5)
    assert (loss.pixel_max, loss.pixel_mean) == pytest.approx((20, 5))
    assert loss.n_images == 3


def test_require_small_names_what_moves_too_far() -> None:
    loss = Loss(
        [LatentLoss("scale", 2, 7.123), LatentLoss("x", 1, 4)],
        pixel_mean=6,
        pixel_max=50,
        n_images=3,
    )
    message = (
        "a reduced precision may move values by 5 % of their range: it moves `scale` by 7.12 %, "
        "the mean over an image's pixels by 6 %; nothing was written; use float32, or allow more "
        "with `--max-error`"
    )
    with pytest.raises(ExportError, match=re.escape(message)):
        require_small(loss, 5)
    require_small(loss, 7.2)


def test_require_small_refuses_what_is_no_number() -> None:
    nan = float("nan")
    with pytest.raises(
        ExportError, match="it moves `z0` by nan %, the mean over an image's pixels"
    ):
        require_small(Loss([LatentLoss("z0", nan, nan)], nan, nan, 10), 5.0)


def test_describe_states_every_latent_and_the_pixels() -> None:
    loss = Loss([LatentLoss("scale", 0.123, 1.28)], pixel_mean=0.5, pixel_max=22, n_images=256)
    assert describe(loss) == (
        "Largest change against float32 over 256 images not used to calibrate: scale by 0.12 "
        "posterior standard deviations (1.3 % of its range); pixels by 22 % of full brightness, "
        "0.5 % on average in the worst image."
    )


def test_measure_speed_gives_images_a_second_before_and_after() -> None:
    speed = measure_speed(Shifted(), Shifted(), np.zeros((64, 1, 2, 2), np.uint8))
    assert min(*speed.encoder, *speed.decoder) > 0
