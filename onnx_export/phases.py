"""Transposed convolutions as four small convolutions, which ONNX Runtime's CPU kernels run faster.

A transposed convolution 4x4 of stride 2 and padding 1 writes even and odd rows and columns from
different taps: out[2i + p] = sum over k of x[i + (p + 1 - k) / 2] w[k], for the k that make the
index whole. So each of the four phases (p, q) of the output is a 2x2 convolution of the input with
a quarter of the weights, padded on one side: the same products in all, no more and no less. They go
through the blocked convolution kernels, whereas `ConvTranspose` is a matrix product and a scattered
sum. The phases are put together with channels last, where that is a copy of whole rows;
`DepthToSpace`, which moves single numbers, loses what the convolutions win.
"""

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

PHASES = ((0, 0), (0, 1), (1, 0), (1, 1))  # (row, column), row by row
# For phase p: the taps that meet x[i - 1 + p] and x[i + p].
TAPS = {0: [3, 1], 1: [2, 0]}
# The blocked kernels take whole blocks of channels: 8 floats with AVX2.
BLOCK_CHANNELS = 8
GEOMETRY = {"kernel_shape": [4, 4], "strides": [2, 2], "pads": [1, 1, 1, 1]}
NEUTRAL = {"dilations": [1, 1], "group": 1, "output_padding": [0, 0], "auto_pad": b"NOTSET"}


@dataclass(frozen=True)
class _Upsampling:
    """A transposed convolution that can be split, and the activation that follows, if any."""

    node: NodeProto
    relu: NodeProto | None
    weight: NDArray[np.float32]  # (channels in, channels out, 4, 4)
    height: int  # of its input
    width: int

    @property
    def output(self) -> str:
        return str((self.relu or self.node).output[0])


def split_transposed_convolutions(model: ModelProto) -> ModelProto:
    """Replace each transposed convolution 4x4, stride 2, padding 1 of whole blocks of channels.

    Exact: each output is the same sum of the same products.
    """
    split = onnx.shape_inference.infer_shapes(model, data_prop=True)
    graph = split.graph
    weights = {tensor.name: tensor for tensor in graph.initializer}
    found = {
        id(node): layer
        for node in graph.node
        if (layer := _recognize(split, node, weights)) is not None
    }
    absorbed = {id(layer.relu) for layer in found.values() if layer.relu is not None}
    nodes = []
    for node in graph.node:
        if id(node) in found:
            nodes += _replacement(split, found[id(node)])
        elif id(node) not in absorbed:
            nodes.append(node)
    kept = copy.deepcopy(nodes)  # those taken out of a graph die with it
    del graph.node[:], graph.value_info[:]
    graph.node.extend(kept)
    drop_unused_weights(split)
    return split


def drop_unused_weights(model: ModelProto) -> None:
    """Remove initializers that no node reads."""
    used = {name for node in model.graph.node for name in node.input}
    for tensor in [t for t in model.graph.initializer if t.name not in used]:
        model.graph.initializer.remove(tensor)


def phase_weights(weight: NDArray[np.float32]) -> Iterator[NDArray[np.float32]]:
    """The 2x2 weights of each of `PHASES`, (channels out, channels in, 2, 2).

    Args:
        weight: of the transposed convolution, (channels in, channels out, 4, 4).
    """
    for row, column in PHASES:
        quarter = weight[:, :, TAPS[row]][:, :, :, TAPS[column]]  # (in, out, 2, 2)
        yield np.ascontiguousarray(quarter.transpose(1, 0, 2, 3))


def _recognize(
    model: ModelProto, node: NodeProto, weights: Mapping[str, TensorProto]
) -> _Upsampling | None:
    if node.op_type != "ConvTranspose" or node.input[1] not in weights:
        return None
    attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    weight = numpy_helper.to_array(weights[node.input[1]])
    size = _static_size(model, node.input[0])
    exact = all(attributes.get(key) == value for key, value in GEOMETRY.items())
    exact = exact and all(attributes.get(key, value) == value for key, value in NEUTRAL.items())
    if not exact or size is None or weight.shape[1] % BLOCK_CHANNELS:
        return None
    return _Upsampling(node, _following_relu(model, node), weight, *size)


def _static_size(model: ModelProto, value: str) -> tuple[int, int] | None:
    for info in (*model.graph.input, *model.graph.value_info):
        if info.name == value:
            dims = [dim.dim_value for dim in info.type.tensor_type.shape.dim]
            return (dims[2], dims[3]) if len(dims) == 4 and min(dims[2:]) > 0 else None
    return None


def _following_relu(model: ModelProto, node: NodeProto) -> NodeProto | None:
    readers = [reader for reader in model.graph.node if node.output[0] in reader.input]
    if len(readers) == 1 and readers[0].op_type == "Relu":
        return readers[0]
    return None


def _replacement(model: ModelProto, layer: _Upsampling) -> list[NodeProto]:
    stem = layer.node.output[0]
    nodes: list[NodeProto] = []
    phases = []
    for phase, weight in zip(PHASES, phase_weights(layer.weight), strict=True):
        name = f"{stem}_phase{phase[0]}{phase[1]}"
        model.graph.initializer.append(numpy_helper.from_array(weight, f"{name}_weight"))
        nodes += _phase_nodes(layer, phase, name)
        phases.append(nodes[-1].output[0])
    return nodes + _interleave_nodes(model, layer, phases)


def _phase_nodes(layer: _Upsampling, phase: tuple[int, int], name: str) -> list[NodeProto]:
    row, column = phase
    inputs = [layer.node.input[0], f"{name}_weight", *layer.node.input[2:]]
    pads = [1 - row, 1 - column, row, column]  # top, left, bottom, right
    conv = helper.make_node("Conv", inputs, [name], name, kernel_shape=[2, 2], pads=pads)
    if layer.relu is None:
        return [conv]
    return [conv, helper.make_node("Relu", [name], [f"{name}_relu"], f"{name}_relu")]


def _interleave_nodes(model: ModelProto, layer: _Upsampling, phases: list[str]) -> list[NodeProto]:
    stem, channels = layer.node.output[0], layer.weight.shape[1]
    by_row = [-1, layer.height, layer.width, 2, 2 * channels]  # last two: row phase, the rest
    whole = [-1, 2 * layer.height, 2 * layer.width, channels]
    names = {
        part: f"{stem}_{part}" for part in ("joined", "last", "cells", "rows", "whole", "nchw")
    }
    for part, shape in (("cells", by_row), ("whole", whole)):
        tensor = numpy_helper.from_array(np.array(shape, np.int64), f"{names[part]}_shape")
        model.graph.initializer.append(tensor)

    def step(operator: str, inputs: list[str], part: str, **attributes: object) -> NodeProto:
        output = layer.output if part == "nchw" else names[part]
        return helper.make_node(operator, inputs, [output], names[part], **attributes)

    return [
        step("Concat", phases, "joined", axis=1),
        step("Transpose", [names["joined"]], "last", perm=[0, 2, 3, 1]),
        step("Reshape", [names["last"], f"{names['cells']}_shape"], "cells"),
        step("Transpose", [names["cells"]], "rows", perm=[0, 1, 3, 2, 4]),
        step("Reshape", [names["rows"], f"{names['whole']}_shape"], "whole"),
        step("Transpose", [names["whole"]], "nchw", perm=[0, 3, 1, 2]),
    ]
