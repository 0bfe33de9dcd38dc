"""Runs the Python of the service's README, and Triton's own client, against a real server."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException

from service.settings import BUNDLED
from tests.service.process import serve
from tests.service.tiny_model import TinyWeights, write_tiny_repository

README = Path(__file__).parents[2] / "service/README.md"
BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[triton.InferenceServerClient]:
    """Triton's client of a server with the tiny model."""
    repository = write_tiny_repository(tmp_path_factory.mktemp("repository"))
    with serve(repository) as server:
        client = triton.InferenceServerClient(server.url.removeprefix("http://"))
        yield client
        client.close()


def _tensor(name: str, array: np.ndarray, *, binary: bool = True) -> triton.InferInput:
    datatype = "UINT8" if array.dtype == np.uint8 else "FP32"
    tensor = triton.InferInput(name, array.shape, datatype)
    tensor.set_data_from_numpy(array, binary_data=binary)
    return tensor


def test_readme_python_works_as_it_stands() -> None:
    (code,) = BLOCK.findall(README.read_text())

    with serve(BUNDLED) as server:
        there = code.replace("127.0.0.1:8000", server.url.removeprefix("http://"))
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", there],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "(2, 10)\n"


def test_triton_client_finds_the_models(client: triton.InferenceServerClient) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("tiny")
    assert client.is_model_ready("tiny-decoder", "1")
    assert not client.is_model_ready("huge")
    assert client.get_server_metadata()["extensions"] == ["binary_tensor_data"]
    assert client.get_model_metadata("tiny")["inputs"] == [
        {"name": "image", "datatype": "UINT8", "shape": [-1, 1, 16, 16]}
    ]


@pytest.mark.parametrize("binary_in", [True, False])
@pytest.mark.parametrize("binary_out", [True, False, None])
def test_triton_client_encodes_and_decodes(
    client: triton.InferenceServerClient, binary_in: bool, binary_out: bool | None
) -> None:
    weights = TinyWeights((1, 16, 16), 4, 0)
    images = np.random.default_rng(0).integers(0, 256, (3, 1, 16, 16), dtype=np.uint8)
    wanted = None
    if binary_out is not None:
        names = ("mu", "logvar")
        wanted = [triton.InferRequestedOutput(name, binary_data=binary_out) for name in names]

    encoded = client.infer(
        "tiny-encoder",
        [_tensor("image", images, binary=binary_in)],
        outputs=wanted,
        request_id="mine",
        timeout=5_000_000,
    )
    z = encoded.as_numpy("mu").astype(np.float32)
    decoded = client.infer("tiny-decoder", [_tensor("z", z, binary=binary_in)])

    mu, logvar = weights.encode(images)
    assert encoded.get_response()["id"] == "mine"
    np.testing.assert_allclose(z, mu, atol=1e-4)
    np.testing.assert_allclose(encoded.as_numpy("logvar"), logvar, atol=1e-4)
    np.testing.assert_allclose(decoded.as_numpy("image"), weights.decode(mu), atol=1e-4)


def test_triton_client_shows_what_was_wrong(client: triton.InferenceServerClient) -> None:
    z = _tensor("z", np.zeros((1, 5), np.float32))

    with pytest.raises(InferenceServerException) as unknown:
        client.infer("huge", [z])
    with pytest.raises(InferenceServerException) as misshapen:
        client.infer("tiny-decoder", [z])

    assert unknown.value.status() == "404"
    assert "`model` must be one of `tiny`" in unknown.value.message()
    assert misshapen.value.message() == (
        "`shape` of input `z` must be [n, 4], n from 1 up; got [1, 5]"
    )
