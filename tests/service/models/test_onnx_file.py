"""Finding weights outside a graph, wherever in it they hide."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from service.errors import ArtifactError
from service.models.onnx_file import external_files
from tests.service.tiny_model import TinyWeights, write_tiny_model


def _outside(location: str) -> onnx.TensorProto:
    tensor = onnx.TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[1])
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="offset", value="0")
    tensor.external_data.add(key="location", value=location)
    return tensor


def _graph(nodes: list[onnx.NodeProto], tensors: list[onnx.TensorProto]) -> onnx.GraphProto:
    return helper.make_graph(nodes, "g", [], [], tensors)


def _saved(model: onnx.ModelProto, folder: Path) -> Path:
    path = folder / "graph.onnx"
    path.write_bytes(model.SerializeToString())
    return path


def test_a_graph_with_its_weights_inside_needs_no_other_file(tmp_path: Path) -> None:
    folder = write_tiny_model(tmp_path)
    assert external_files(folder / "encoder.onnx") == set()
    assert external_files(folder / "decoder.onnx") == set()


def test_initializers_outside_are_found(tmp_path: Path) -> None:
    model = helper.make_model(_graph([], [_outside("../a.bin"), _outside("b.bin")]))
    assert external_files(_saved(model, tmp_path)) == {"../a.bin", "b.bin"}


def test_constants_outside_are_found_in_nodes_and_in_their_graphs(tmp_path: Path) -> None:
    constant = helper.make_node("Constant", [], ["c"], value=_outside("constant.bin"))
    branch = _graph([constant], [_outside("/branch.bin")])
    condition = helper.make_node("If", ["x"], ["y"], then_branch=branch, else_branch=_graph([], []))
    model = helper.make_model(_graph([condition], []))
    assert external_files(_saved(model, tmp_path)) == {"constant.bin", "/branch.bin"}


def test_functions_and_sparse_weights_are_looked_into(tmp_path: Path) -> None:
    constant = helper.make_node("Constant", [], ["c"], value=_outside("function.bin"))
    opsets = [helper.make_opsetid("", 17)]
    function = helper.make_function("local", "f", [], ["c"], [constant], opsets)
    model = helper.make_model(_graph([], []), functions=[function])
    indices = numpy_helper.from_array(np.array([0]), "i")
    model.graph.sparse_initializer.add(values=_outside("s.bin"), indices=indices, dims=[4])
    assert external_files(_saved(model, tmp_path)) == {"function.bin", "s.bin"}


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"none.onnx` cannot be read: No such file"):
        external_files(tmp_path / "none.onnx")


@pytest.mark.parametrize("content", [b"\x3a\xff\x01", b"\xff" * 12, b"\x0b\x0c", b"\x3a"])
def test_what_is_no_protobuf_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "graph.onnx"
    path.write_bytes(content)
    with pytest.raises(ArtifactError, match=r"graph.onnx` is not an ONNX graph: .*; export again"):
        external_files(path)


def test_tag_that_protobuf_would_cut_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "graph.onnx"
    path.write_bytes(b"\xba\x80\x80\x80\x10\x00")  # field 7, the graph, after the cut
    with pytest.raises(ArtifactError, match=r"a field has the tag 4294967354; export again"):
        external_files(path)


def test_endless_nesting_is_refused(tmp_path: Path) -> None:
    content = b""
    for _ in range(150):  # attribute.g of a node of a graph, again and again
        attribute = b"\x32" + _varint(len(content)) + content
        node = b"\x2a" + _varint(len(attribute)) + attribute
        content = b"\x0a" + _varint(len(node)) + node
    path = tmp_path / "graph.onnx"
    path.write_bytes(b"\x3a" + _varint(len(content)) + content)
    with pytest.raises(ArtifactError, match="messages are nested more than 100 deep"):
        external_files(path)


@given(st.integers(0, 4000), st.integers(0, 255))
def test_any_changed_byte_is_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, place: int, value: int
) -> None:
    content = bytearray(TinyWeights((1, 4, 4), 2, 0).encoder().SerializeToString())
    content[place % len(content)] = value
    path = tmp_path_factory.getbasetemp() / "changed.onnx"
    path.write_bytes(content)
    try:
        found = external_files(path)
    except ArtifactError:
        return
    assert isinstance(found, set)


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*encoded, value])
