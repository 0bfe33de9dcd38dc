"""Tensors of the Open Inference Protocol v2: numbers in JSON, or little-endian bytes behind it.

Protocol: github.com/kserve/open-inference-protocol; the bytes are Triton's binary tensor data
extension. A claim of shape or size is compared with what is there before an array is made.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import orjson

from service.errors import InvalidValue, MalformedInput

Array = npt.NDArray[Any]

DTYPES: Final[dict[str, np.dtype[Any]]] = {"UINT8": np.dtype("u1"), "FP32": np.dtype("<f4")}
LARGEST_FLOAT: Final = float(np.finfo(np.float32).max)
_LONGEST_LENGTH: Final = 18  # digits


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """One input or output of a graph, of shape (batch, *row).

    Args:
        largest: of the absolute values that an input may hold.
    """

    name: str
    datatype: str
    row: tuple[int, ...]
    largest: float = LARGEST_FLOAT

    @property
    def shape(self) -> list[int]:
        """As metadata shows it: -1 is any length."""
        return [-1, *self.row]


@dataclass(frozen=True, slots=True)
class Output:
    """One output as it goes out: `binary` puts its bytes behind the JSON."""

    spec: TensorSpec
    array: Array
    binary: bool


def split_body(body: bytes, header_length: bytes | None) -> tuple[bytes, memoryview]:
    """The JSON of a body, and the bytes behind it.

    Args:
        header_length: value of `Inference-Header-Content-Length`; None when all of it is JSON.

    Raises:
        MalformedInput: it is no number, or more than there is.
    """
    if header_length is None:
        return body, memoryview(b"")
    if not header_length.isdigit() or len(header_length) > _LONGEST_LENGTH:
        shown = header_length[:40].decode("latin-1")
        raise MalformedInput(
            f"`Inference-Header-Content-Length` must be the bytes of the JSON part; got `{shown}`"
        )
    length = int(header_length)
    if length > len(body):
        raise MalformedInput(
            f"`Inference-Header-Content-Length` must not be above the body's {len(body)} bytes; "
            f"got {length}"
        )
    return body[:length], memoryview(body)[length:]


def read_numbers(spec: TensorSpec, shape: Sequence[int], data: list[Any]) -> Array:
    """A tensor from JSON: all numbers in one list, or lists within lists as `shape` says.

    Raises:
        InvalidValue: another shape or count, or a number that the type does not hold.
    """
    _check_shape(spec, shape)
    numbers, nesting = _flatten(spec, data)
    wanted = math.prod(shape)
    if len(numbers) != wanted or nesting not in ([len(numbers)], list(shape)):
        raise InvalidValue(
            f"`data` of input `{spec.name}` must be {wanted} numbers, in one list or nested as "
            f"{list(shape)}; got {' x '.join(map(str, nesting))[:80]}"
        )
    integers = spec.datatype == "UINT8"
    if not set(map(type, numbers)) <= ({int} if integers else {int, float}):
        raise InvalidValue(_wrong_number(spec))
    return _as_bytes(spec, numbers, shape) if integers else _as_floats(spec, numbers, shape)


def read_bytes(spec: TensorSpec, shape: Sequence[int], content: memoryview) -> Array:
    """A tensor from its bytes, row by row.

    Raises:
        InvalidValue: another shape, or a number that the type does not hold.
        MalformedInput: not as many bytes as the shape needs.
    """
    _check_shape(spec, shape)
    dtype = DTYPES[spec.datatype]
    wanted = math.prod(shape) * dtype.itemsize
    if len(content) != wanted:
        raise MalformedInput(
            f"input `{spec.name}` of shape {list(shape)} must have {wanted} bytes; "
            f"got {len(content)}"
        )
    array: Array = np.frombuffer(content, dtype).reshape(shape)
    if spec.datatype == "UINT8":
        return array
    return _checked(spec, array.astype(np.float32))  # a copy, as the bytes may lie unaligned


def read_rows(spec: TensorSpec, content: memoryview) -> Array:
    """A tensor that is all of a body; the number of rows follows from its bytes."""
    row_bytes = math.prod(spec.row) * DTYPES[spec.datatype].itemsize
    if len(content) == 0 or len(content) % row_bytes:
        raise MalformedInput(
            f"a body without JSON must be rows of input `{spec.name}`, {row_bytes} bytes each; "
            f"got {len(content)} bytes"
        )
    return read_bytes(spec, (len(content) // row_bytes, *spec.row), content)


def write_answer(facts: dict[str, Any], outputs: Sequence[Output]) -> tuple[bytes, int | None]:
    """The body of an answer, and the length of its JSON where bytes follow it."""
    described = [_describe(output) for output in outputs]
    text = orjson.dumps({**facts, "outputs": described}, option=orjson.OPT_SERIALIZE_NUMPY)
    blocks = [_little_endian(output) for output in outputs if output.binary]
    return (b"".join([text, *blocks]), len(text)) if blocks else (text, None)


def _describe(output: Output) -> dict[str, Any]:
    spec, array = output.spec, output.array
    described = {"name": spec.name, "datatype": spec.datatype, "shape": list(array.shape)}
    if output.binary:
        return {**described, "parameters": {"binary_data_size": array.nbytes}}
    return {**described, "data": np.ascontiguousarray(array).reshape(-1)}


def _little_endian(output: Output) -> bytes:
    array: Array = output.array.astype(DTYPES[output.spec.datatype], copy=False)
    return array.tobytes()


def _check_shape(spec: TensorSpec, shape: Sequence[int]) -> None:
    if len(shape) == 0 or shape[0] < 1 or tuple(shape[1:]) != spec.row:
        wanted = ", ".join(["n", *map(str, spec.row)])
        raise InvalidValue(
            f"`shape` of input `{spec.name}` must be [{wanted}], n from 1 up; "
            f"got {str(list(shape))[:80]}"
        )


def _flatten(spec: TensorSpec, data: list[Any]) -> tuple[list[Any], list[int]]:
    """The numbers of nested lists, row by row, and the lengths of the lists at each level."""
    nesting = [len(data)]
    while data and type(data[0]) is list:
        if set(map(type, data)) != {list} or len(set(map(len, data))) != 1:
            raise InvalidValue(
                f"`data` of input `{spec.name}` must be lists of one length at each level; "
                "got a ragged one; or send all numbers in one list"
            )
        nesting.append(len(data[0]))
        data = list(chain.from_iterable(data))
    return data, nesting


def _as_bytes(spec: TensorSpec, numbers: list[int], shape: Sequence[int]) -> Array:
    try:
        return np.frombuffer(bytes(numbers), np.uint8).reshape(shape)
    except ValueError:  # one is outside 0 to 255
        raise InvalidValue(_wrong_number(spec)) from None


def _as_floats(spec: TensorSpec, numbers: list[float], shape: Sequence[int]) -> Array:
    try:
        wide = np.array(numbers, np.float64)
    except OverflowError:  # an integer beyond any float
        raise InvalidValue(_wrong_number(spec)) from None
    return _checked(spec, wide.reshape(shape)).astype(np.float32)


def _checked(spec: TensorSpec, array: Array) -> Array:
    if not (np.abs(array) <= spec.largest).all():  # also when one is NaN
        raise InvalidValue(_wrong_number(spec))
    return array


def _wrong_number(spec: TensorSpec) -> str:
    if spec.datatype == "UINT8":
        return f"input `{spec.name}` must hold integers from 0 to 255; got something else"
    return (
        f"input `{spec.name}` must hold finite numbers from -{spec.largest:g} to "
        f"{spec.largest:g}; got something else"
    )
