"""What a sweep does is measured on models whose answer is known."""

from collections.abc import Callable

import numpy as np
import pytest

from onnx_export.inputs import Floats, Samples
from onnx_export.sweeps import Sweep, measure_sweeps, sweep_section
from service.models.artifact import Dimension, Quantiles

Fold = Callable[[Floats], Floats]


class FoldedModel:
    """Rows are latents; what is read back of them goes through `fold`."""

    def __init__(self, fold: Fold) -> None:
        self._fold = fold

    def encode(self, images: Samples) -> tuple[Floats, Floats]:
        return self._fold(images), np.zeros_like(images)

    def decode(self, z: Floats) -> Floats:
        return z


def _dimension(dim: int) -> Dimension:
    quantiles = Quantiles(p1=-2, p5=-1.5, p25=-0.5, p50=0, p75=0.5, p95=1.5, p99=2)
    return Dimension(
        dim=dim,
        name=("scale", "turn")[dim],
        relevance=1.0,
        relevant=True,
        mean_kl=1.0,
        mu_mean=0.0,
        mu_std=1.0,
        mu_quantiles=quantiles,
        decoder_sensitivity=1.0,
    )


def _sweeps(fold: Fold) -> list[Sweep]:
    images = np.zeros((32, 2), np.float32)
    return measure_sweeps(FoldedModel(fold), images, [_dimension(0), _dimension(1)])


def test_clean_dimensions_read_back_as_they_were_set() -> None:
    first, second = _sweeps(lambda z: z)
    assert (first.covered, first.reversal) == (pytest.approx(100), 0)
    assert first.others == {"turn": 0}
    assert second.others == {"scale": 0}
    text = sweep_section([first, second])
    assert "| scale | 100 % | 0 % | turn by 0 % |" in text
    assert text.endswith("No sweep turns back or moves another factor by 10 % or more.")


def test_a_falling_dimension_turns_back_by_nothing() -> None:
    assert _sweeps(lambda z: -z)[0].reversal == 0


def test_a_dimension_that_turns_back_is_named_with_how_far() -> None:
    """|z| falls by half of the range before it rises."""
    folded = _sweeps(lambda z: np.stack([np.abs(z[:, 0]), z[:, 1]], axis=1))[0]
    assert (folded.covered, folded.reversal) == (pytest.approx(50), pytest.approx(50))
    assert "- A sweep of `scale` turns back by 50 % of its own range on the way." in sweep_section(
        [folded]
    )


def test_a_factor_that_moves_beside_is_named_with_how_far() -> None:
    """The turn flips where the scale is near an end, as a posterior of two modes does."""
    flipped = _sweeps(lambda z: np.stack([z[:, 0], z[:, 1] + 2 * (np.abs(z[:, 0]) > 1.5)], axis=1))[
        0
    ]
    assert flipped.others == {"turn": pytest.approx(50)}
    assert "- A sweep of `scale` moves `turn` by 50 % of its range." in sweep_section([flipped])


def test_a_model_that_gives_no_numbers_has_no_sweeps() -> None:
    assert _sweeps(lambda z: z * np.nan) == []
    assert sweep_section([]) == ""
