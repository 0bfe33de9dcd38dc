import re

import numpy as np
import pytest

from onnx_export.errors import ExportError
from onnx_export.inputs import CheckInputs, Floats, Samples
from onnx_export.trained_run import TrainedRun
from onnx_export.verify import (
    Deviation,
    Reference,
    measure,
    parity,
    require_finite,
    require_parity,
)


class Linear:
    """Numpy stand-in: mu is the mean brightness; `shift` moves one output of one row."""

    def __init__(self, shift: dict[str, float] | None = None, *, row: int = 0) -> None:
        self._shift, self._row = shift or {}, row

    def encode(self, images: Samples) -> tuple[Floats, Floats]:
        mu = images.reshape(len(images), -1).mean(axis=1, keepdims=True).astype(np.float32)
        return self._moved("mu", mu), self._moved("logvar", -mu)

    def decode(self, z: Floats) -> Floats:
        return self._moved("image", np.tile(z[:, :, None, None], (1, 1, 2, 2)))

    def _moved(self, output: str, values: Floats) -> Floats:
        moved = values.copy()
        if len(moved) > self._row:
            moved[self._row] += np.float32(self._shift.get(output, 0))
        return moved


@pytest.fixture
def inputs() -> list[CheckInputs]:
    images = np.zeros((64, 1, 2, 2), np.uint8)
    return [CheckInputs("random", images, np.zeros((64, 1), np.float32))]


def test_measure_compares_every_output_in_batches_of_1_2_7_64(inputs: list[CheckInputs]) -> None:
    found = measure(Linear(), Linear(), inputs)

    assert [(one.output, one.batch) for one in found] == [
        (output, batch) for batch in (1, 2, 7, 64) for output in ("mu", "logvar", "image")
    ]
    assert all(one.max_abs_error == 0 for one in found)


def test_measure_finds_the_row_that_differs_most(inputs: list[CheckInputs]) -> None:
    found = measure(Linear(), Linear({"logvar": 0.5}, row=5), inputs)

    wrong = [one for one in found if one.max_abs_error]
    assert wrong == [
        Deviation("logvar", "random", 7, 5, 0.5),
        Deviation("logvar", "random", 64, 5, 0.5),
    ]


def test_measure_decodes_the_mu_of_real_images() -> None:
    images = np.full((64, 1, 2, 2), 9, np.uint8)
    decoded: list[Floats] = []

    class Recorder(Linear):
        def decode(self, z: Floats) -> Floats:
            decoded.append(z)
            return super().decode(z)

    measure(Recorder(), Linear(), [CheckInputs("real", images, None)])

    assert [z.shape for z in decoded] == [(1, 1), (2, 1), (7, 1), (64, 1)]
    assert float(decoded[0][0, 0]) == 9


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_measure_takes_a_number_that_became_none_for_infinitely_wrong(
    inputs: list[CheckInputs], value: float
) -> None:
    found = measure(Linear(), Linear({"mu": value}), inputs)
    assert found[0].max_abs_error == float("inf")


def test_measure_does_not_compare_what_torch_gives_no_number_for(
    inputs: list[CheckInputs],
) -> None:
    found = measure(Linear({"mu": np.nan}), Linear(), inputs)
    assert all(one.max_abs_error == 0 for one in found)


def test_measure_refuses_another_shape(inputs: list[CheckInputs]) -> None:
    class Short(Linear):
        def decode(self, z: Floats) -> Floats:
            return super().decode(z)[:, :, :1]

    message = "must give the same shape: got (1, 1, 2, 2) and (1, 1, 1, 2)"
    with pytest.raises(ExportError, match=re.escape(message)):
        measure(Linear(), Short(), inputs)


def test_require_parity_says_which_output_in_which_batch_by_how_much() -> None:
    found = [
        Deviation("mu", "real", 7, 3, 0.00025),
        Deviation("logvar", "real", 7, 0, 1e-4),
        Deviation("image", "random", 64, 63, float("nan")),
    ]
    expected = (
        "torch and ONNX Runtime must agree within 0.0001: nothing was written, the largest "
        "differences are\n"
        "  `mu`: 0.00025 in row 3 of a batch of 7 real inputs\n"
        "  `image`: nan in row 63 of a batch of 64 random inputs"
    )
    with pytest.raises(ExportError) as raised:
        require_parity(found)
    assert str(raised.value) == expected


def test_parity_keeps_the_largest_difference_of_each_output() -> None:
    found = [
        Deviation("mu", "real", 1, 0, 1.2345e-6),
        Deviation("mu", "random", 64, 9, 3.4567e-6),
        Deviation("logvar", "real", 1, 0, 0.0),
        Deviation("image", "real", 1, 0, 1e-7),
    ]
    summary = parity(found)

    assert (summary.mu, summary.logvar, summary.image) == (3.5e-6, 0.0, 1e-7)
    assert (summary.batches, summary.tolerance) == ([1, 2, 7, 64], 1e-4)


def test_reference_scales_pixels_and_decodes_to_probabilities(run: TrainedRun) -> None:
    images = np.full((2, *run.vae.image_shape), 255, np.uint8)
    reference = Reference(run.vae)
    mu, logvar = reference.encode(images)

    assert mu.shape == logvar.shape == (2, 4)
    np.testing.assert_array_equal(mu[0], mu[1])
    decoded = reference.decode(mu)
    assert decoded.shape == images.shape
    assert 0 <= decoded.min() <= decoded.max() <= 1


def test_require_finite_names_the_outputs_that_overflow() -> None:
    sound = Deviation("mu", "real", 1, 0, 0.5)
    require_finite([sound])
    with pytest.raises(ExportError, match="got NaN or infinity in `image`, `logvar`; use float32"):
        require_finite(
            [
                sound,
                Deviation("logvar", "real", 1, 0, float("nan")),
                Deviation("image", "real", 7, 2, float("inf")),
            ]
        )
