"""Runs a graph on buffers that stay on the device: one copy in, one out, nothing allocated."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime as ort

from service.runtime.graph_spec import GraphSpec, TensorSpec
from service.runtime.graphs import Outputs, Samples


class Buffers:
    """Input and outputs of one batch size at fixed addresses, bound to a session.

    For one thread at a time.

    Args:
        memory: where the buffers lie, in ONNX Runtime's words: "cuda" or "cpu".
    """

    def __init__(self, session: Any, spec: GraphSpec, *, batch: int, memory: str) -> None:
        self._input = _allocate(spec.input, batch, memory)
        self._outputs = [_allocate(output, batch, memory) for output in spec.outputs]
        self._wanted = ((batch, *spec.input.row), np.dtype(spec.input.dtype))
        self._is_shared = memory == "cpu"  # then `numpy` shows the buffer and does not copy it
        self._session = session
        self._binding = session.io_binding()
        self._binding.bind_ortvalue_input(spec.input.name, self._input)
        for output, value in zip(spec.outputs, self._outputs, strict=True):
            self._binding.bind_ortvalue_output(output.name, value)

    def run(self, rows: Samples) -> Outputs:
        """Copy in, run, copy out; what is returned belongs to the caller."""
        got = (rows.shape, rows.dtype)
        if got != self._wanted:  # `update_inplace` looks at the number of elements only
            raise ValueError(f"the buffer takes {self._wanted}; got {got}")
        self._input.update_inplace(np.ascontiguousarray(rows))
        self._session.run_with_iobinding(self._binding)
        outputs = [value.numpy() for value in self._outputs]
        return tuple(output.copy() if self._is_shared else output for output in outputs)


class BoundGraph:
    """Keeps as many buffers of each batch size as threads ever ran it at once; thread-safe."""

    def __init__(self, session: Any, spec: GraphSpec, *, memory: str) -> None:
        self._session = session
        self._spec = spec
        self._memory = memory
        self._free: dict[int, list[Buffers]] = {}

    def run(self, rows: Samples) -> Outputs:
        free = self._free.setdefault(len(rows), [])
        buffers = self._take(free) or self._make(len(rows))
        outputs = buffers.run(rows)
        free.append(buffers)  # not after an error, which may have left them in any state
        return outputs

    def _take(self, free: list[Buffers]) -> Buffers | None:
        try:
            return free.pop()
        except IndexError:  # all of this size are in use
            return None

    def _make(self, batch: int) -> Buffers:
        return Buffers(self._session, self._spec, batch=batch, memory=self._memory)


def _allocate(spec: TensorSpec, batch: int, memory: str) -> Any:
    shape, dtype = (batch, *spec.row), np.dtype(spec.dtype).type
    return ort.OrtValue.ortvalue_from_shape_and_type(shape, dtype, memory, 0)
