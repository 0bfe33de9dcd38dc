"""Puts the standardization of a model of rows into its graphs, which then speak the data's units.

It is added last and stays in float32 where the rest is reduced: half precision could not hold a
column whose offset is large.
"""

import copy
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, helper, numpy_helper

from onnx_export.network_graphs import Graphs
from training.data.standardization import Standardization

ROW, INSIDE = "row", "standardized_columns"


def in_row_units(graphs: Graphs, vectors: Standardization) -> Graphs:
    """The encoder takes (row - offset) / scale inside, the decoder gives row * scale + offset.

    Args:
        graphs: of a model of standardized rows; left as they are.
        vectors: offset and scale of each column.
    """
    offset, scale = (values.astype(np.float32) for values in (vectors.offset, vectors.scale))
    encoder, decoder = (copy.deepcopy(graphs[name]) for name in ("encoder", "decoder"))
    for node in encoder.graph.node:
        node.input[:] = [INSIDE if name == ROW else name for name in node.input]
    before = [
        helper.make_node("Sub", [ROW, "column_offset"], ["shifted_columns"], "shift_columns"),
        helper.make_node("Div", ["shifted_columns", "column_scale"], [INSIDE], "divide_columns"),
    ]
    _set_nodes(encoder, [*before, *encoder.graph.node], offset, scale)
    for node in decoder.graph.node:
        node.output[:] = [INSIDE if name == ROW else name for name in node.output]
    after = [
        helper.make_node(
            "Mul", [INSIDE, "column_scale"], ["multiplied_columns"], "multiply_columns"
        ),
        helper.make_node("Add", ["multiplied_columns", "column_offset"], [ROW], "shift_columns"),
    ]
    _set_nodes(decoder, [*decoder.graph.node, *after], offset, scale)
    return {"encoder": encoder, "decoder": decoder}


def _set_nodes(
    model: ModelProto,
    nodes: Sequence[NodeProto],
    offset: NDArray[np.float32],
    scale: NDArray[np.float32],
) -> None:
    kept = copy.deepcopy(nodes)  # those taken out of a graph die with it
    del model.graph.node[:], model.graph.value_info[:]
    model.graph.node.extend(kept)
    for name, values in (("column_offset", offset), ("column_scale", scale)):
        model.graph.initializer.append(numpy_helper.from_array(values, name))
