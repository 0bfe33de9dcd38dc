"""Tensors of the Open Inference Protocol: JSON numbers and bytes, good and bad."""

from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.codecs.oip import (
    Output,
    TensorSpec,
    read_bytes,
    read_numbers,
    read_rows,
    split_body,
    write_answer,
)
from service.errors import InvalidValue, MalformedInput

IMAGE = TensorSpec("image", "UINT8", (1, 2, 2))
Z = TensorSpec("z", "FP32", (3,), 1e6)


@pytest.mark.parametrize(
    "data",
    [
        [0, 1, 2, 3, 252, 253, 254, 255],
        [[[[0, 1], [2, 3]]], [[[252, 253], [254, 255]]]],
    ],
    ids=["flat", "nested"],
)
def test_read_numbers_takes_flat_and_nested_lists(data: list[Any]) -> None:
    images = read_numbers(IMAGE, [2, 1, 2, 2], data)

    assert images.dtype == np.uint8
    assert images.tolist() == [[[[0, 1], [2, 3]]], [[[252, 253], [254, 255]]]]


def test_read_numbers_takes_integers_as_floats() -> None:
    z = read_numbers(Z, [1, 3], [0, -1, 2.5])

    assert z.dtype == np.float32
    assert z.tolist() == [[0.0, -1.0, 2.5]]


@pytest.mark.parametrize(
    ("shape", "data", "text"),
    [
        ([1, 4], [0] * 4, r"`shape` of input `z` must be \[n, 3\], n from 1 up; got \[1, 4\]"),
        ([0, 3], [], r"n from 1 up; got \[0, 3\]"),
        ([3], [0] * 3, r"must be \[n, 3\]"),
        ([], [], r"must be \[n, 3\], n from 1 up; got \[\]"),
        ([1, 3], [0] * 4, r"must be 3 numbers, in one list or nested as \[1, 3\]; got 4"),
        ([1, 3], [], "got 0"),
        ([2, 3], [[0, 1], [2, 3], [4, 5]], "got 3 x 2"),
        ([2, 3], [[0, 1, 2], [3, 4]], "must be lists of one length at each level"),
        ([2, 3], [[0, 1, 2], 3], "got a ragged one"),
        ([1, 3], [0, None, 1], "must hold finite numbers from -1e\\+06 to 1e\\+06; got something"),
        ([1, 3], [0, True, 1], "must hold finite numbers"),
        ([1, 3], [0, "1", 1], "must hold finite numbers"),
        ([1, 3], [0, [1], 1], "must hold finite numbers"),
        ([1, 3], [0, float("nan"), 1], "must hold finite numbers"),
        ([1, 3], [0, float("inf"), 1], "must hold finite numbers"),
        ([1, 3], [0, 1e7, 1], "must hold finite numbers"),
        ([1, 3], [0, 10**400, 1], "must hold finite numbers"),
    ],
)
def test_read_numbers_refuses(shape: list[int], data: list[Any], text: str) -> None:
    with pytest.raises(InvalidValue, match=text):
        read_numbers(Z, shape, data)


@pytest.mark.parametrize("wrong", [256, -1, 1.0, 10**30, None, True, "7"])
def test_read_numbers_refuses_what_is_no_byte(wrong: object) -> None:
    with pytest.raises(InvalidValue, match="`image` must hold integers from 0 to 255"):
        read_numbers(IMAGE, [1, 1, 2, 2], [0, 1, wrong, 2])


def test_read_numbers_does_not_widen_to_the_longest_text() -> None:
    spec, texts = TensorSpec("image", "UINT8", (2000,)), ["x" * 10**7] * 2000  # numpy: 80 GB
    with pytest.raises(InvalidValue, match="must hold integers"):
        read_numbers(spec, [1, 2000], texts)


def test_read_bytes_takes_floats_that_lie_unaligned() -> None:
    content = memoryview(b"x" + np.array([[1, 2, 3]], "<f4").tobytes())[1:]

    z = read_bytes(Z, [1, 3], content)

    assert z.flags.aligned
    assert z.tolist() == [[1.0, 2.0, 3.0]]


def test_read_bytes_refuses_another_size() -> None:
    with pytest.raises(MalformedInput, match=r"of shape \[2, 3\] must have 24 bytes; got 12"):
        read_bytes(Z, [2, 3], memoryview(bytes(12)))


def test_read_bytes_refuses_a_shape_that_claims_the_earth() -> None:
    with pytest.raises(MalformedInput, match="must have 13194139533312 bytes; got 12"):
        read_bytes(Z, [2**40, 3], memoryview(bytes(12)))


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf, 1e30])
def test_read_bytes_refuses_numbers_that_are_not_finite(wrong: float) -> None:
    content = memoryview(np.array([0, wrong, 0], "<f4").tobytes())
    with pytest.raises(InvalidValue, match="must hold finite numbers"):
        read_bytes(Z, [1, 3], content)


def test_read_rows_finds_the_number_of_rows() -> None:
    assert read_rows(IMAGE, memoryview(bytes(12))).shape == (3, 1, 2, 2)


@pytest.mark.parametrize("size", [0, 3, 5])
def test_read_rows_refuses_a_part_of_a_row(size: int) -> None:
    with pytest.raises(MalformedInput, match=f"rows of input `image`, 4 bytes each; got {size}"):
        read_rows(IMAGE, memoryview(bytes(size)))


def test_split_body_cuts_where_the_header_says() -> None:
    text, content = split_body(b'{"a":1}xyz', b"7")

    assert (text, bytes(content)) == (b'{"a":1}', b"xyz")


@pytest.mark.parametrize(
    ("length", "text"),
    [
        (b"8", "must not be above the body's 7 bytes; got 8"),
        (b"-1", "must be the bytes of the JSON part; got `-1`"),
        (b"", "got ``"),
        ("٣".encode(), "must be the bytes of the JSON part"),
        (b"9" * 30, "must be the bytes of the JSON part"),
    ],
)
def test_split_body_refuses(length: bytes, text: str) -> None:
    with pytest.raises(MalformedInput, match=text):
        split_body(b'{"a":1}', length)


def test_write_answer_puts_bytes_behind_the_json_in_order() -> None:
    first, second = np.array([[1, 2]], np.float32), np.array([[3, 4]], np.float32)
    mu, logvar = (TensorSpec(name, "FP32", (2,)) for name in ("mu", "logvar"))

    body, length = write_answer(
        {"model_name": "m"}, [Output(mu, first, True), Output(logvar, second, False)]
    )

    assert length is not None
    assert orjson.loads(body[:length]) == {
        "model_name": "m",
        "outputs": [
            {
                "name": "mu",
                "datatype": "FP32",
                "shape": [1, 2],
                "parameters": {"binary_data_size": 8},
            },
            {"name": "logvar", "datatype": "FP32", "shape": [1, 2], "data": [3.0, 4.0]},
        ],
    }
    assert np.frombuffer(body[length:], "<f4").tolist() == [1.0, 2.0]


def test_write_answer_has_no_length_without_bytes() -> None:
    body, length = write_answer({}, [Output(Z, np.zeros((1, 3), np.float32)[:, ::-1], False)])

    assert length is None
    assert orjson.loads(body)["outputs"][0]["data"] == [0, 0, 0]


@given(st.lists(st.lists(st.floats(-1e6, 1e6, width=32), min_size=3, max_size=3), min_size=1))
def test_bytes_and_numbers_say_the_same(rows: list[list[float]]) -> None:
    shape = [len(rows), 3]
    content = memoryview(np.array(rows, "<f4").tobytes())

    np.testing.assert_array_equal(read_numbers(Z, shape, rows), read_bytes(Z, shape, content))
