"""Replays a graph as one captured CUDA graph a batch size, which saves the launch of each kernel.

A capture is tied to its buffers' addresses and to the thread that made it: ONNX Runtime keeps it in
a context of the thread. So each graph has one thread that captures and replays, and one session for
each batch size, whose memory no other capture can use.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from service.errors import DeviceUnavailable, ServiceError, one_line
from service.runtime.bound import Buffers
from service.runtime.graph_spec import GraphSpec
from service.runtime.graphs import Outputs, Run, Samples

TOLERANCE = 1e-5  # relative and absolute; the same kernels run
HINT = "unset RFVAE_CUDA_GRAPHS"


class CapturedGraph:
    """Thread-safe; batches of other sizes than the captured ones are an error.

    Args:
        plain: runs without a capture, to compare with.
        captured: buffers of a session of its own for each batch size.
        thread: where all of them run.
    """

    def __init__(
        self,
        plain: Run,
        captured: Mapping[int, Buffers],
        spec: GraphSpec,
        *,
        thread: ThreadPoolExecutor,
    ) -> None:
        self._plain = plain
        self._captured = captured
        self._spec = spec
        self._thread = thread

    @classmethod
    def capture(
        cls,
        plain: Run,
        open_session: Callable[[], Any],
        spec: GraphSpec,
        *,
        sizes: Sequence[int],
        memory: str,
    ) -> CapturedGraph:
        """Open a session for each size and run it, which captures.

        Raises:
            DeviceUnavailable: the graph cannot be captured.
        """

        def capture(size: int) -> Buffers:
            buffers = Buffers(open_session(), spec, batch=size, memory=memory)
            buffers.run(np.zeros((size, *spec.input.row), spec.input.dtype))
            return buffers

        thread = ThreadPoolExecutor(1, thread_name_prefix="rfvae-graph")
        try:
            captured = {size: thread.submit(capture, size).result() for size in sizes}
        except Exception as error:  # ONNX Runtime's errors share no base class but Exception
            thread.shutdown(wait=False)
            raise _not_captured(spec, error) from error
        return cls(plain, captured, spec, thread=thread)

    def run(self, rows: Samples) -> Outputs:
        return self._thread.submit(self._captured[len(rows)].run, rows).result()

    def self_check(self, samples: Samples) -> None:
        """Compare replays with plain runs, on two inputs, so that a stale output shows.

        Raises:
            DeviceUnavailable: an output differs.
        """
        for size in self._captured:
            for rows in (samples, samples[::-1]):
                self._compare(np.resize(rows, (size, *rows.shape[1:])))

    def close(self) -> None:
        """Let go of the thread; runs under way finish."""
        self._thread.shutdown(wait=False)

    def _compare(self, rows: Samples) -> None:
        pairs = zip(self._spec.outputs, self._plain(rows), self.run(rows), strict=True)
        for output, plain, replayed in pairs:
            if not np.allclose(replayed, plain, rtol=TOLERANCE, atol=TOLERANCE):
                raise DeviceUnavailable(
                    f"a CUDA graph must give what a plain run gives: for {len(rows)} rows through "
                    f"`{self._spec.file_name}`, `{output.name}` differs by "
                    f"{float(np.abs(replayed - plain).max()):.3g}; {HINT}"
                )


def _not_captured(spec: GraphSpec, error: Exception) -> DeviceUnavailable:
    reason = error.detail if isinstance(error, ServiceError) else one_line(error)
    return DeviceUnavailable(
        f"`{spec.file_name}` cannot be captured as a CUDA graph: {reason}; {HINT}"
    )
