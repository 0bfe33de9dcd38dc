from pathlib import Path

import pytest

from onnx_export.request import Request


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({}, "shapes"),
        ({"pruned": True}, "shapes-pruned"),
        ({"precision": "int8"}, "shapes-int8"),
        ({"pruned": True, "precision": "float16"}, "shapes-pruned-float16"),
        ({"name": "mine", "precision": "int8"}, "mine"),
        ({"pruned": True, "name": "mine"}, "mine"),
    ],
)
def test_request_names_a_reduced_model_apart(options: dict[str, object], name: str) -> None:
    assert Request(Path("models"), **options).model_name("shapes") == name


def test_request_names_a_run_that_was_pruned_before_apart() -> None:
    assert Request(Path("models")).model_name("shapes", is_pruned=True) == "shapes-pruned"
