import io
import zipfile

import numpy as np

from onnx_export.golden import golden_arrays, npz_bytes
from onnx_export.inputs import CheckInputs, random_inputs
from onnx_export.trained_run import TrainedRun
from onnx_export.verify import Reference


def test_golden_arrays_hold_four_inputs_with_torch_answers(run: TrainedRun) -> None:
    inputs = random_inputs(run.vae.image_shape, run.vae.latent_dim)
    reference = Reference(run.vae)

    golden = golden_arrays(reference, inputs)

    assert {name: array.shape for name, array in golden.items()} == {
        "image": (4, 1, 32, 32),
        "mu": (4, 4),
        "logvar": (4, 4),
        "z": (4, 4),
        "decoded": (4, 1, 32, 32),
    }
    np.testing.assert_array_equal(golden["mu"], reference.encode(golden["image"])[0])
    np.testing.assert_array_equal(golden["decoded"], reference.decode(golden["z"]))


def test_golden_arrays_spread_over_the_images_and_decode_their_mu(run: TrainedRun) -> None:
    images = random_inputs(run.vae.image_shape, run.vae.latent_dim).images
    golden = golden_arrays(Reference(run.vae), CheckInputs("real", images, None))

    np.testing.assert_array_equal(golden["image"], images[[0, 16, 32, 48]])
    np.testing.assert_array_equal(golden["z"], golden["mu"])


def test_npz_bytes_are_the_same_for_the_same_arrays_and_load_without_pickle() -> None:
    arrays = {"b": np.arange(6, dtype=np.float32).reshape(2, 3), "a": np.zeros(2, np.uint8)}
    content = npz_bytes(arrays)

    assert content == npz_bytes(dict(arrays))
    dates = {entry.date_time for entry in zipfile.ZipFile(io.BytesIO(content)).infolist()}
    assert dates == {(1980, 1, 1, 0, 0, 0)}
    with np.load(io.BytesIO(content), allow_pickle=False) as loaded:
        assert list(loaded) == ["b", "a"]
        np.testing.assert_array_equal(loaded["b"], arrays["b"])
