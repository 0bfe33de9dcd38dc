"""Nodes that the asked device does not run are named; a graph of which it runs none is refused."""

from __future__ import annotations

import logging
from pathlib import Path

import onnxruntime
import pytest

from service.errors import DeviceUnavailable
from service.runtime.assignment import RECORD, require_nodes_on
from service.runtime.sessions import CPU, CUDA, TENSORRT
from tests.service.runtime.fake_ort import Part
from tests.service.tiny_model import write_tiny_model


class Session:
    """Only says where its nodes run."""

    def __init__(self, *parts: Part) -> None:
        self._parts = list(parts)

    def get_provider_graph_assignment_info(self) -> list[Part]:
        return self._parts


def test_a_graph_that_is_all_on_the_device_needs_no_word(caplog: pytest.LogCaptureFixture) -> None:
    require_nodes_on(Session(Part(CUDA, "Conv"), Part(CUDA, "Relu")), CUDA, name="`a.onnx`")
    assert caplog.records == []


def test_nodes_that_run_elsewhere_are_named(caplog: pytest.LogCaptureFixture) -> None:
    session = Session(
        Part(TENSORRT, "Conv", "Relu"), Part(CUDA, "Split"), Part(CPU, "Shape", "Gather", "Shape")
    )
    with caplog.at_level(logging.WARNING):
        require_nodes_on(session, TENSORRT, name="`a.onnx`")
    assert {record.getMessage() for record in caplog.records} == {"graph_partly_elsewhere"}
    common = {"graph": "`a.onnx`", "of": 6}
    assert [vars(record)["fields"] for record in caplog.records] == [
        {**common, "provider": CPU, "nodes": 3, "operators": "Gather,Shape"},
        {**common, "provider": CUDA, "nodes": 1, "operators": "Split"},
    ]


def test_a_graph_of_which_the_device_runs_nothing_is_refused() -> None:
    session = Session(Part(CPU, "Conv", "Relu"))
    message = f"{CUDA} must run `a.onnx`; it runs none of its 2 nodes, which are left to {CPU}; set"
    with pytest.raises(DeviceUnavailable, match=message):
        require_nodes_on(session, CUDA, name="`a.onnx`")


def test_a_real_session_says_where_its_nodes_run(tmp_path: Path) -> None:
    graph = write_tiny_model(tmp_path) / "encoder.onnx"
    options = onnxruntime.SessionOptions()
    options.add_session_config_entry(RECORD, "1")
    session = onnxruntime.InferenceSession(str(graph), options, providers=[CPU])
    require_nodes_on(session, CPU, name="`encoder.onnx`")
    with pytest.raises(DeviceUnavailable, match=rf"runs none of its [1-9]\d* nodes, .* to {CPU}"):
        require_nodes_on(session, CUDA, name="`encoder.onnx`")
