"""Which other files an ONNX graph reads its weights from, without the `onnx` package.

Walks the protobuf wire format (https://protobuf.dev/programming-guides/encoding) along the few
fields that lead to tensors; the field numbers are those of `onnx.proto`, IR version 3 and later.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from service.errors import ArtifactError

# message -> field number -> message in that field.
CHILDREN: Final[dict[str, dict[int, str]]] = {
    "Model": {7: "Graph", 20: "TrainingInfo", 25: "Function"},
    "TrainingInfo": {1: "Graph", 2: "Graph"},
    "Function": {7: "Node", 11: "Attribute"},
    "Graph": {1: "Node", 5: "Tensor", 15: "SparseTensor"},
    "Node": {5: "Attribute"},
    "Attribute": {
        5: "Tensor",
        6: "Graph",
        10: "Tensor",
        11: "Graph",
        22: "SparseTensor",
        23: "SparseTensor",
    },
    "SparseTensor": {1: "Tensor", 2: "Tensor"},
    "Tensor": {13: "StringEntry"},  # external_data
}
VARINT, FIXED64, LENGTH_DELIMITED, FIXED32 = 0, 1, 2, 5
DEEPEST = 100  # protobuf's own limit
LARGEST_TAG = 2**32 - 1


def external_files(path: Path) -> set[str]:
    """The `location` of every tensor that lies outside the graph, as written in it.

    Raises:
        ArtifactError: the file is missing or is not a protobuf message.
    """
    try:
        content = memoryview(path.read_bytes())
        return set(_locations(content, "Model", 0))
    except OSError as error:
        raise ArtifactError(f"`{path}` cannot be read: {error.strerror}") from None
    except (IndexError, ValueError) as error:
        raise ArtifactError(f"`{path}` is not an ONNX graph: {error}; export again") from None


def _locations(message: memoryview, kind: str, depth: int) -> Iterator[str]:
    if depth > DEEPEST:
        raise ValueError(f"messages are nested more than {DEEPEST} deep")
    children = CHILDREN[kind]
    for number, content in _fields(message):
        child = children.get(number)
        if child == "StringEntry":
            entry = {key: bytes(text) for key, text in _fields(content)}
            if entry.get(1) == b"location":
                yield entry.get(2, b"").decode("utf-8", "replace")
        elif child is not None:
            yield from _locations(content, child, depth + 1)


def _fields(message: memoryview) -> Iterator[tuple[int, memoryview]]:
    """Number and content of each length-delimited field; the other wire types are stepped over."""
    position = 0
    while position < len(message):
        tag, position = _varint(message, position)
        if tag > LARGEST_TAG:  # protobuf would cut it to 32 bits, and find another field in it
            raise ValueError(f"a field has the tag {tag}")
        number, wire_type = tag >> 3, tag & 7
        if wire_type == LENGTH_DELIMITED:
            length, position = _varint(message, position)
            if position + length > len(message):
                raise ValueError("a field ends after the file")
            yield number, message[position : position + length]
            position += length
        else:
            position = _skip(message, position, wire_type)


def _skip(message: memoryview, position: int, wire_type: int) -> int:
    if wire_type == VARINT:
        return _varint(message, position)[1]
    if wire_type in {FIXED32, FIXED64}:
        return position + (4 if wire_type == FIXED32 else 8)
    raise ValueError(f"unknown wire type {wire_type}")


def _varint(message: memoryview, position: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        byte = message[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
    raise ValueError("a number is longer than 10 bytes")
