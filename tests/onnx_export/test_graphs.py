import re

import numpy as np
import onnx
import pytest
import torch
from onnx import ModelProto, TensorProto, helper, numpy_helper
from torch import Tensor, nn

from onnx_export.errors import ExportError
from onnx_export.graphs import IR_VERSION, OPSET, check_portable, export_graph, serialize, tidy


class Doubler(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 2)

    def forward(self, z: Tensor) -> Tensor:
        return 2 * self.linear(z)


@pytest.fixture(scope="module")
def traced() -> ModelProto:
    return export_graph(Doubler(), torch.zeros(2, 3), inputs=["z"], outputs=["image"])


def one_node_model(operator: str, *, domain: str = "") -> ModelProto:
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n"]) for name in "xy"]
    node = helper.make_node(operator, ["x"], ["y"], "the_node", domain=domain)
    return helper.make_model(helper.make_graph([node], "g", ends[:1], ends[1:]))


def shape_of(value: onnx.ValueInfoProto) -> list[object]:
    return [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]


def test_export_graph_leaves_the_batch_open_and_keeps_the_names(traced: ModelProto) -> None:
    (given,), (result,) = traced.graph.input, traced.graph.output
    assert (given.name, shape_of(given)) == ("z", ["batch", 3])
    assert (result.name, shape_of(result)) == ("image", ["batch", 2])


def test_tidy_strips_what_differs_between_machines(traced: ModelProto) -> None:
    text = serialize(tidy(traced, {}))
    assert b".py" not in text
    assert b"pkg.torch" not in text
    assert torch.__version__.encode() not in text


def test_tidy_adds_the_facts_in_order(traced: ModelProto) -> None:
    model = tidy(traced, {"rfvae.b": "2", "rfvae.a": "1"})
    assert [(prop.key, prop.value) for prop in model.metadata_props] == [
        ("rfvae.a", "1"),
        ("rfvae.b", "2"),
    ]


def test_tidy_states_opset_format_and_shapes(traced: ModelProto) -> None:
    model = tidy(traced, {})
    assert [(one.domain, one.version) for one in model.opset_import] == [("", OPSET)]
    assert model.ir_version == IR_VERSION
    assert {value.name for value in model.graph.value_info} >= {
        output for node in model.graph.node[:-1] for output in node.output
    }


def test_tidy_does_not_change_its_argument(traced: ModelProto) -> None:
    before = traced.SerializeToString(deterministic=True)
    tidy(traced, {"rfvae.a": "1"})
    assert traced.SerializeToString(deterministic=True) == before


@pytest.mark.parametrize("operator", ["RandomNormalLike", "RandomUniformLike", "Bernoulli"])
def test_check_portable_refuses_randomness(operator: str) -> None:
    message = f"a graph draws no random numbers: node `the_node` is `{operator}`; export the mean"
    with pytest.raises(ExportError, match=message):
        check_portable(one_node_model(operator))


def test_check_portable_refuses_operators_of_one_vendor() -> None:
    message = "a graph uses standard operators only: node `the_node` is `com.microsoft::Gelu`"
    with pytest.raises(ExportError, match=re.escape(message)):
        check_portable(one_node_model("Gelu", domain="com.microsoft"))


def test_check_portable_refuses_weights_in_another_file() -> None:
    model = one_node_model("Relu")
    weight = numpy_helper.from_array(np.zeros(4, np.float32), "far_away")
    weight.data_location = TensorProto.EXTERNAL
    model.graph.initializer.append(weight)
    message = "a graph file holds its own weights: tensor `far_away` is kept in another file"
    with pytest.raises(ExportError, match=message):
        check_portable(model)


def test_check_portable_lets_a_plain_graph_pass(traced: ModelProto) -> None:
    check_portable(traced)
