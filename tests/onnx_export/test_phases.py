from itertools import pairwise

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper, numpy_helper
from torch.nn import functional

from onnx_export.graphs import serialize, tidy
from onnx_export.phases import PHASES, phase_weights, split_transposed_convolutions
from service.runtime.sessions import open_session

USUAL = {"kernel_shape": [4, 4], "strides": [2, 2], "pads": [1, 1, 1, 1]}


def upsampling(
    channels: tuple[int, ...] = (8, 16), *, size: tuple[object, object] = (3, 5), **changes: object
) -> ModelProto:
    """Transposed convolutions with a ReLU between each two, from "z" to "image"."""
    rng = np.random.default_rng(0)
    nodes, weights, last = [], [], "z"
    for index, (inner, outer) in enumerate(pairwise(channels)):
        attributes = USUAL | changes
        group, kernel = attributes.get("group", 1), attributes["kernel_shape"]
        weight = rng.standard_normal((inner, outer // group, *kernel), dtype=np.float32)
        weights.append(numpy_helper.from_array(weight, f"w{index}"))
        weights.append(
            numpy_helper.from_array(rng.standard_normal(outer, dtype=np.float32), f"b{index}")
        )
        inputs = [last, f"w{index}", f"b{index}"]
        nodes.append(helper.make_node("ConvTranspose", inputs, [f"up{index}"], **attributes))
        nodes.append(helper.make_node("Relu", [f"up{index}"], [f"relu{index}"]))
        last = f"relu{index}"
    nodes.pop()
    nodes[-1].output[0] = "image"
    given = helper.make_tensor_value_info("z", TensorProto.FLOAT, ["batch", channels[0], *size])
    result = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", None, None, None])
    graph = helper.make_graph(nodes, "g", [given], [result], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])


def run(model: ModelProto, batch: int) -> NDArray[np.float32]:
    z = np.random.default_rng(1).standard_normal((batch, 8, 3, 5), dtype=np.float32)
    return open_session(serialize(tidy(model, {}))).run(None, {"z": z})[0]


def operators(model: ModelProto) -> list[str]:
    return [node.op_type for node in model.graph.node]


def test_phase_weights_are_the_convolutions_of_even_and_odd_pixels() -> None:
    generator = torch.Generator().manual_seed(0)
    image = torch.randn(2, 3, 4, 6, generator=generator)
    weight = torch.randn(3, 5, 4, 4, generator=generator)
    whole = functional.conv_transpose2d(image, weight, stride=2, padding=1)

    for (row, column), quarter in zip(PHASES, phase_weights(weight.numpy()), strict=True):
        padded = functional.pad(image, (1 - column, column, 1 - row, row))
        phase = functional.conv2d(padded, torch.from_numpy(quarter))
        torch.testing.assert_close(whole[:, :, row::2, column::2], phase)


@pytest.mark.parametrize("batch", [1, 7])
def test_split_gives_the_same_pixels(batch: int) -> None:
    plain = upsampling((8, 16, 8))
    split = split_transposed_convolutions(plain)

    assert operators(split).count("Conv") == 8
    assert "ConvTranspose" not in operators(split)
    got = run(split, batch)
    assert got.shape == (batch, 8, 12, 20)
    np.testing.assert_allclose(got, run(plain, batch), rtol=1e-5, atol=1e-4)


def test_split_moves_the_activation_into_each_phase() -> None:
    split = split_transposed_convolutions(upsampling((8, 8, 3)))
    follow = {node.input[0]: node.op_type for node in split.graph.node}
    convolutions = [node for node in split.graph.node if node.op_type == "Conv"]
    assert [follow[node.output[0]] for node in convolutions] == ["Relu"] * 4


def test_split_drops_the_weights_it_replaced_and_keeps_the_argument() -> None:
    plain = upsampling()
    before = serialize(plain)
    split = split_transposed_convolutions(plain)
    used = {name for node in split.graph.node for name in node.input}

    assert {tensor.name for tensor in split.graph.initializer} <= used
    assert serialize(plain) == before


@pytest.mark.parametrize(
    ("channels", "changes"),
    [
        ((8, 3), {}),  # does not fill a block of channels
        ((8, 8), {"kernel_shape": [3, 3]}),
        ((8, 8), {"strides": [1, 1]}),
        ((8, 8), {"pads": [0, 0, 0, 0]}),
        ((8, 8), {"output_padding": [1, 1]}),
        ((8, 8), {"group": 2}),
        ((8, 8), {"dilations": [2, 2]}),
        ((8, 8), {"auto_pad": "SAME_UPPER"}),
    ],
)
def test_split_leaves_other_geometries_alone(
    channels: tuple[int, int], changes: dict[str, object]
) -> None:
    plain = upsampling(channels, **changes)
    assert operators(split_transposed_convolutions(plain)) == ["ConvTranspose"]


def test_split_leaves_a_size_that_is_not_known_alone() -> None:
    plain = upsampling(size=("height", "width"))
    assert operators(split_transposed_convolutions(plain)) == ["ConvTranspose"]
