"""Smaller graphs at a known loss: float16 for GPUs, int8 calibrated on training images."""

import copy
import logging
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper, numpy_helper
from onnxruntime.quantization import (
    CalibrationDataReader,
    QuantFormat,
    QuantType,
    quantize_static,
)

from onnx_export.forms import Precision

Calibration = Mapping[str, NDArray[Any]]

_INT8_OPERATORS = ["Conv", "ConvTranspose", "Gemm", "LeakyRelu", "Relu", "Reshape", "Transpose"]
_CALIBRATION_BATCH = 32


def to_float16(model: ModelProto) -> ModelProto:
    """Compute in half precision; inputs and outputs stay as they are."""
    half = copy.deepcopy(model)
    graph = half.graph
    del graph.value_info[:]
    for tensor in graph.initializer:
        if tensor.data_type == TensorProto.FLOAT:
            values = numpy_helper.to_array(tensor).astype(np.float16)
            tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    for node in graph.node:
        for attribute in node.attribute:
            if node.op_type == "Cast" and attribute.i == TensorProto.FLOAT:
                attribute.i = TensorProto.FLOAT16
    _cast_inputs(half)
    _cast_outputs(half)
    return half


def to_int8(model: ModelProto, calibration: Calibration) -> ModelProto:
    """Quantize weights and activations statically.

    Weights take 7 bits: with 8, processors without VNNI saturate and the error doubles.

    Args:
        model: with float32 weights.
        calibration: for each input its values, (n, ...); the more the training data, the better.
    """
    with tempfile.TemporaryDirectory() as folder, _quiet():
        given, quantized = Path(folder, "given.onnx"), Path(folder, "quantized.onnx")
        onnx.save(model, given)
        quantize_static(
            given,
            quantized,
            _Batches(calibration),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=_INT8_OPERATORS,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            reduce_range=True,
            per_channel=True,
        )
        result: ModelProto = onnx.load(quantized)
    return result


def reduce_precision(
    model: ModelProto, precision: Precision, calibration: Calibration
) -> ModelProto:
    """The graph in the precision that is asked for."""
    if precision == "float16":
        return to_float16(model)
    return to_int8(model, calibration) if precision == "int8" else model


class _Batches(CalibrationDataReader):  # type: ignore[misc]
    def __init__(self, values: Calibration) -> None:
        n_rows = len(next(iter(values.values())))
        self._batches = iter(
            {name: array[start : start + _CALIBRATION_BATCH] for name, array in values.items()}
            for start in range(0, n_rows, _CALIBRATION_BATCH)
        )

    def get_next(self) -> dict[str, NDArray[Any]] | None:
        return next(self._batches, None)


def _cast_inputs(half: ModelProto) -> None:
    for given in half.graph.input:
        if given.type.tensor_type.elem_type == TensorProto.FLOAT:
            _rename_readers(half, given.name, f"{given.name}_half")
            node = helper.make_node(
                "Cast", [given.name], [f"{given.name}_half"], to=TensorProto.FLOAT16
            )
            half.graph.node.insert(0, node)


def _cast_outputs(half: ModelProto) -> None:
    for result in half.graph.output:
        for node in half.graph.node:
            node.output[:] = [
                f"{name}_half" if name == result.name else name for name in node.output
            ]
        node = helper.make_node(
            "Cast", [f"{result.name}_half"], [result.name], to=TensorProto.FLOAT
        )
        half.graph.node.append(node)


def _rename_readers(model: ModelProto, before: str, after: str) -> None:
    for node in model.graph.node:
        node.input[:] = [after if name == before else name for name in node.input]


@contextmanager
def _quiet() -> Iterator[None]:
    """The quantizer advises on pre-processing that was done here in another way."""
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)
