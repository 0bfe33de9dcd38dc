"""Exact rewrites that leave less to do at run time."""

import copy

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, numpy_helper

from onnx_export.phases import drop_unused_weights

_LINEAR_OPS = frozenset({"Conv", "Gemm", "MatMul"})


def fold_input_scale(model: ModelProto) -> ModelProto:
    """Move the division by 255 into the weights of the first layer.

    conv(image / 255, w) + b = conv(image, w / 255) + b, zero padding included. The graph is
    returned as it is when the first layer is not linear in the scaled image.
    """
    folded = copy.deepcopy(model)
    graph = folded.graph
    weights = {tensor.name: tensor for tensor in graph.initializer}
    for division in graph.node:
        layer = _linear_reader(folded, division.output[0]) if division.op_type == "Div" else None
        if layer is None or division.input[1] not in weights or layer.input[1] not in weights:
            continue
        divisor = numpy_helper.to_array(weights[division.input[1]])
        if divisor.size == 1:
            _scale(weights[layer.input[1]], 1 / float(divisor))
            layer.input[0] = division.input[0]
            graph.node.remove(division)
            drop_unused_weights(folded)
            return folded
    return folded


def _linear_reader(model: ModelProto, value: str) -> NodeProto | None:
    readers = [node for node in model.graph.node if value in node.input]
    if len(readers) != 1 or readers[0].op_type not in _LINEAR_OPS:
        return None
    return readers[0] if readers[0].input[0] == value else None


def _scale(tensor: TensorProto, factor: float) -> None:
    scaled = numpy_helper.to_array(tensor).astype(np.float64) * factor
    tensor.CopyFrom(numpy_helper.from_array(scaled.astype(np.float32), tensor.name))
