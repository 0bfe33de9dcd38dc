import re
from dataclasses import replace

import numpy as np
import pytest

from onnx_export.errors import ExportError
from onnx_export.inputs import random_inputs, real_inputs
from onnx_export.trained_run import TrainedRun


def test_random_inputs_are_the_same_each_time_and_fill_the_largest_batch() -> None:
    first, second = (random_inputs((3, 28, 28), 5) for _ in range(2))

    assert first.images.shape == (64, 3, 28, 28)
    assert first.images.dtype == np.uint8
    assert first.latents is not None
    assert first.latents.shape == (64, 5)
    np.testing.assert_array_equal(first.images, second.images)


def test_real_inputs_spread_over_the_training_images(run: TrainedRun) -> None:
    inputs = real_inputs(run.loaded)

    assert (inputs.kind, inputs.latents) == ("real", None)
    assert inputs.images.shape == (64, 1, 32, 32)
    assert set(np.unique(inputs.images)) == {0, 255}
    assert len({image.tobytes() for image in inputs.images}) > 32


def test_real_inputs_refuse_data_that_changed(run: TrainedRun) -> None:
    info = {**run.info, "data": {**run.info["data"], "sha256": "0" * 64}}
    changed = replace(run.loaded, run_info=info)
    message = (
        "the training images are needed to check the graphs: a run needs the images "
        "it was trained on: SHA-256 000000000000… is recorded"
    )
    with pytest.raises(ExportError, match=re.escape(message)):
        real_inputs(changed)
