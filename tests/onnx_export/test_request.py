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
    ],
)
def test_request_names_a_reduced_model_apart(options: dict[str, object], name: str) -> None:
    assert Request(Path("models"), **options).model_name("shapes") == name
