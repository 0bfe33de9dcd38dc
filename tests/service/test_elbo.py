"""The bound of one image: by hand, and its order."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm

from service.elbo import Likelihood, elbo, reconstruction_loss

BERNOULLI = Likelihood("bernoulli")


def _images(*levels: int) -> np.ndarray:
    return np.array(levels, np.uint8).reshape(len(levels), 1, 1, 1)


def _decoded(*levels: float) -> np.ndarray:
    return np.array(levels, np.float32).reshape(len(levels), 1, 1, 1)


def test_bernoulli_reconstruction_loss_by_hand() -> None:
    loss = reconstruction_loss(_images(255, 0), _decoded(0.25, 0.25), BERNOULLI)
    assert loss == pytest.approx([-np.log(0.25), -np.log(0.75)])


def test_bernoulli_reconstruction_loss_stays_finite_when_certain_and_wrong() -> None:
    loss = reconstruction_loss(_images(255, 0), _decoded(0, 1), BERNOULLI)
    assert loss == pytest.approx([16.118, 16.118], abs=0.01)


def test_gaussian_reconstruction_loss_by_hand() -> None:
    loss = reconstruction_loss(_images(255), _decoded(0.5), Likelihood("gaussian"))
    assert loss == pytest.approx([0.125])


def test_reconstruction_loss_sums_over_pixels_of_each_image() -> None:
    images, decoded = np.zeros((2, 1, 4, 4), np.uint8), np.full((2, 1, 4, 4), 0.5, np.float32)
    loss = reconstruction_loss(images, decoded, BERNOULLI)
    assert loss == pytest.approx([16 * np.log(2)] * 2)


def test_elbo_is_minus_loss_minus_kl() -> None:
    mu, logvar = np.array([[2.0, 0.0]], np.float32), np.zeros((1, 2), np.float32)
    bound = elbo(_images(255), _decoded(0.5), mu=mu, logvar=logvar, likelihood=BERNOULLI)
    assert bound == pytest.approx([-np.log(2) - 2.0])


@pytest.mark.parametrize("shape", [(1, 16, 16), (1, 29, 29), (3, 128, 128)])
def test_reconstruction_loss_is_that_of_double_precision_where_the_decoder_is_sure(
    shape: tuple[int, int, int],
) -> None:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (8, *shape), dtype=np.uint8)
    decoded = (1 / (1 + np.exp(-rng.normal(0, 12, images.shape)))).astype(np.float32)
    decoded[0], decoded[1] = 0, 1
    x = images.reshape(8, -1) / 255
    p = decoded.reshape(8, -1).astype(np.float64).clip(1e-7, 1 - 1e-7)

    expected = -(x * np.log(p) + (1 - x) * np.log1p(-p)).sum(axis=1)

    loss = reconstruction_loss(images, decoded, BERNOULLI)
    np.testing.assert_allclose(loss, expected, rtol=1e-6)


def test_gaussian_of_a_scale_is_that_of_scipy_but_for_the_constant() -> None:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (3, 1, 4, 4), dtype=np.uint8)
    decoded = rng.random(images.shape).astype(np.float32)

    loss = reconstruction_loss(images, decoded, Likelihood("gaussian", 0.2))

    logs = norm.logpdf(images / 255, decoded, 0.2).reshape(3, -1).sum(axis=1)
    np.testing.assert_allclose(loss, -logs - 16 * np.log(2 * np.pi) / 2, rtol=1e-5)


def test_gaussian_of_rows_counts_in_units_of_each_column() -> None:
    likelihood = Likelihood("gaussian", 0.5, np.array([10.0, 0.1]))
    rows = np.array([[1010.0, 0.3]], np.float32)
    decoded = np.array([[1000.0, 0.2]], np.float32)

    loss = reconstruction_loss(rows, decoded, likelihood)

    assert loss == pytest.approx([(1 + 1) / (2 * 0.25) + 2 * np.log(0.5)], rel=1e-5)
