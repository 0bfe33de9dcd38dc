from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto

from onnx_export.graphs import serialize, tidy
from onnx_export.network_graphs import Graphs
from onnx_export.quantize import reduce_precision, to_float16, to_int8
from service.runtime.sessions import open_session


@pytest.fixture(scope="module")
def images() -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (64, 1, 32, 32), dtype=np.uint8)


def run(model: ModelProto, **inputs: NDArray[Any]) -> list[NDArray[Any]]:
    outputs: list[NDArray[Any]] = open_session(serialize(tidy(model, {}))).run(None, inputs)
    return outputs


def weight_types(model: ModelProto) -> set[int]:
    return {tensor.data_type for tensor in model.graph.initializer}


def test_float16_keeps_the_types_of_inputs_and_outputs(graphs: Graphs) -> None:
    half = to_float16(graphs["decoder"])
    ends = [*half.graph.input, *half.graph.output]

    assert {end.type.tensor_type.elem_type for end in ends} == {TensorProto.FLOAT}
    assert weight_types(half) == {TensorProto.FLOAT16, TensorProto.INT64}
    assert half.ByteSize() < 0.6 * graphs["decoder"].ByteSize()


def test_float16_is_close_to_float32(graphs: Graphs, images: NDArray[np.uint8]) -> None:
    z = np.random.default_rng(1).standard_normal((7, 4), dtype=np.float32)
    for name, inputs in (("encoder", {"image": images[:7]}), ("decoder", {"z": z})):
        plain = run(graphs[name], **inputs)
        half = run(to_float16(graphs[name]), **inputs)
        for before, after in zip(plain, half, strict=True):
            assert after.dtype == np.float32
            np.testing.assert_allclose(after, before, rtol=0, atol=5e-3)
            assert (after != before).any()


def test_int8_is_small_and_near_float32(graphs: Graphs, images: NDArray[np.uint8]) -> None:
    encoder = graphs["encoder"]
    small = to_int8(encoder, {"image": images[::2]})
    mu = run(encoder, image=images)[0]

    assert TensorProto.INT8 in weight_types(small)
    assert small.ByteSize() < 0.5 * encoder.ByteSize()
    errors = np.abs(run(small, image=images)[0] - mu)
    assert 0 < errors.max() < 0.2 * np.ptp(mu)


def test_int8_uses_seven_bits_of_a_weight(graphs: Graphs, images: NDArray[np.uint8]) -> None:
    small = to_int8(graphs["encoder"], {"image": images})
    stored = [
        np.frombuffer(tensor.raw_data, np.int8)
        for tensor in small.graph.initializer
        if tensor.data_type == TensorProto.INT8 and len(tensor.raw_data) > 64
    ]
    assert stored
    assert max(int(np.abs(values.astype(int)).max()) for values in stored) <= 64


def test_int8_twice_gives_the_same_bytes(graphs: Graphs, images: NDArray[np.uint8]) -> None:
    first, second = (
        serialize(tidy(to_int8(graphs["decoder"], {"z": z}), {}))
        for z in [images[:, 0, 0, :4].astype(np.float32) / 255] * 2
    )
    assert first == second


def test_reduce_precision_to_float32_changes_nothing(graphs: Graphs) -> None:
    assert reduce_precision(graphs["encoder"], "float32", {}) is graphs["encoder"]
