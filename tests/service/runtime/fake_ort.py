"""Stands in for an ONNX Runtime build with a GPU, to test what is asked of it and refused."""

from __future__ import annotations

import sys
from typing import Any


class Node:
    """A node of a graph."""

    def __init__(self, op_type: str) -> None:
        self.op_type = op_type


class Part:
    """What one provider runs of a graph."""

    def __init__(self, ep_name: str, *operators: str) -> None:
        self.ep_name = ep_name
        self._operators = operators

    def get_nodes(self) -> list[Node]:
        return [Node(operator) for operator in self._operators]


class EPFail(Exception):
    """Has the name of ONNX Runtime's error for a provider that does not start."""


class FakeSession:
    """A session of the providers that the fake lets start."""

    def __init__(self, providers: list[str]) -> None:
        self._providers = providers

    def get_providers(self) -> list[str]:
        return self._providers

    def get_provider_graph_assignment_info(self) -> list[Part]:
        """One node on the first provider."""
        return [Part(self._providers[0], "Conv")]


class FakeOrt:
    """The part of the module that opening a session uses.

    Args:
        available: providers of this build.
        starts: providers that start; others fall back in silence, or raise if `raises`.

    Attributes:
        asked: the providers and session options of every session.
        preloaded: how often the CUDA libraries were loaded.
        complaint: what loading them prints.
    """

    __version__ = "1.32.0"

    def __init__(self, real: Any, *, available: list[str], starts: list[str], raises: bool) -> None:
        self.SessionOptions = real.SessionOptions
        self.ExecutionMode = real.ExecutionMode
        self.GraphOptimizationLevel = real.GraphOptimizationLevel
        self._available = available
        self._starts = starts
        self._raises = raises
        self.asked: list[dict[str, Any]] = []
        self.preloaded = 0
        self.complaint = ""

    def get_available_providers(self) -> list[str]:
        return self._available

    def preload_dlls(self) -> None:
        self.preloaded += 1
        sys.stdout.write(self.complaint)

    def InferenceSession(
        self, model: Any, options: Any, *, providers: list[Any], enable_fallback: int
    ) -> FakeSession:
        pairs = [(entry, {}) if isinstance(entry, str) else entry for entry in providers]
        fallback = bool(enable_fallback)
        self.asked.append({"providers": dict(pairs), "options": options, "fallback": fallback})
        if self._raises and any(name not in self._starts for name, _ in pairs):
            raise EPFail("libcudnn.so.9:\n cannot open shared object file")
        return FakeSession([name for name, _ in pairs if name in self._starts])
