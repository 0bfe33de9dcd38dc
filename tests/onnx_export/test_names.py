import re

import pytest

from onnx_export.errors import ExportError
from onnx_export.names import complete_names, parse_names


def test_names_are_read_by_dimension() -> None:
    assert parse_names(" scale=3, stroke width =0,a=b=1", 4) == {
        3: "scale",
        0: "stroke width",
        1: "a=b",
    }


def test_names_empty_text_names_nothing() -> None:
    assert parse_names("", 4) == {}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("scale", "names are written NAME=DIM with commas between: got `scale`; for example"),
        ("scale=x", "names are written NAME=DIM with commas between: got `scale=x`"),
        ("=3", "names are written NAME=DIM with commas between: got `=3`"),
        ("scale=-1", "names are written NAME=DIM with commas between: got `scale=-1`"),
        ("scale=4", "dimensions go from 0 to 3: got 4 for `scale` in `--names`"),
        ("a=1,b=1", "each dimension and each name occurs once in `--names`: got `b=1` again"),
        ("a=1,a=2", "each dimension and each name occurs once in `--names`: got `a=2` again"),
        ("all=1", "`relevant` and `all` are sets of dimensions in the service: got `all=1`"),
        ("7=1", "a name is 1 to 80 printable characters and not a number: got '7'"),
        ("a\tb=1", "a name is 1 to 80 printable characters and not a number: got 'a\\tb'"),
        ("x" * 81 + "=1", "a name is 1 to 80 printable characters and not a number"),
    ],
)
def test_names_refuse_what_cannot_be_a_name(text: str, message: str) -> None:
    with pytest.raises(ExportError, match=re.escape(message)):
        parse_names(text, 4)


def test_names_without_one_are_the_number() -> None:
    assert complete_names({1: "scale"}, 3) == ["z0", "scale", "z2"]


def test_names_may_be_the_default_of_the_same_dimension() -> None:
    assert complete_names({1: "z1"}, 2) == ["z0", "z1"]


def test_names_refuse_the_default_of_another_dimension() -> None:
    message = "names are unique and `z2` is what dimension 2 is called without one: got `z2=0`"
    with pytest.raises(ExportError, match=re.escape(message)):
        complete_names({0: "z2"}, 3)
