import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper, numpy_helper

from onnx_export.graphs import serialize, tidy
from onnx_export.rewrite import fold_input_scale
from service.runtime.sessions import open_session


def scaled(operator: str, *, divisor: NDArray[np.float32], bias: bool = True) -> ModelProto:
    """Cast, divide, then `operator` on images of 1 x 8 x 8."""
    rng = np.random.default_rng(0)
    weights = [numpy_helper.from_array(divisor, "divisor")]
    inputs = ["divided"]
    if operator == "Conv":
        weights.append(numpy_helper.from_array(rng.standard_normal((4, 1, 3, 3), np.float32), "w"))
        inputs.append("w")
        if bias:
            weights.append(numpy_helper.from_array(rng.standard_normal(4, np.float32), "b"))
            inputs.append("b")
    nodes = [
        helper.make_node("Cast", ["image"], ["cast"], to=TensorProto.FLOAT),
        helper.make_node("Div", ["cast", "divisor"], ["divided"]),
        helper.make_node(operator, inputs, ["mu"]),
    ]
    shape: list[object] = ["batch", 1, 8, 8]
    given = helper.make_tensor_value_info("image", TensorProto.UINT8, shape)
    result = helper.make_tensor_value_info("mu", TensorProto.FLOAT, ["batch", None, None, None])
    graph = helper.make_graph(nodes, "g", [given], [result], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])


def run(model: ModelProto) -> NDArray[np.float32]:
    image = np.random.default_rng(1).integers(0, 256, (3, 1, 8, 8), dtype=np.uint8)
    return open_session(serialize(tidy(model, {}))).run(None, {"image": image})[0]


@pytest.mark.parametrize("bias", [True, False])
def test_fold_input_scale_removes_the_division_and_keeps_the_result(bias: bool) -> None:
    plain = scaled("Conv", divisor=np.array(255, np.float32), bias=bias)
    folded = fold_input_scale(plain)

    assert [node.op_type for node in folded.graph.node] == ["Cast", "Conv"]
    assert "divisor" not in {tensor.name for tensor in folded.graph.initializer}
    np.testing.assert_allclose(run(folded), run(plain), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("operator", "divisor"),
    [
        ("Sigmoid", np.float32(255)),  # not linear
        ("Conv", np.linspace(1, 2, 8, dtype=np.float32)),  # another divisor for each column
    ],
)
def test_fold_input_scale_leaves_what_it_cannot_fold(
    operator: str, divisor: NDArray[np.float32]
) -> None:
    plain = scaled(operator, divisor=np.asarray(divisor))
    assert serialize(fold_input_scale(plain)) == serialize(plain)
