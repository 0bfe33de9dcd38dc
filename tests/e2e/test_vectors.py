"""A table of numbers from CSV to `curl /encode`: train, report, export, serve, as a user does."""

import io
import json
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from onnx_export import cli as export_cli
from tests.onnx_export.vector_run import COLUMNS, make_table, vector_config, write_table
from tests.service.process import serve
from tests.service.tiny_model import write_tiny_model
from training import cli as training_cli
from training.checkpoint import load_model
from training.config_file import config_toml, parse_config
from training.run_images import open_run_images

JSON, NPY = "application/json", "application/x-npy"


@dataclass
class Served:
    """Where the service listens, what it said, and the run that its model comes from."""

    url: str
    welcome: str
    run: Path

    def curl(self, path: str, body: bytes, *options: str, kind: str = JSON) -> tuple[int, bytes]:
        """Status and body of a POST."""
        command = ["curl", "-s", "-w", "%{http_code}", f"{self.url}{path}"]
        command += ["-H", f"Content-Type: {kind}", "--data-binary", "@-", *options]
        done = subprocess.run(command, input=body, capture_output=True, timeout=60, check=True)
        return int(done.stdout[-3:]), done.stdout[:-3]

    def ask(self, path: str, content: Any, *options: str) -> Any:
        """The JSON of a POST that must succeed."""
        status, body = self.curl(path, json.dumps(content).encode(), *options)
        assert status == 200, body
        return json.loads(body)

    def refusal(self, path: str, content: Any, *options: str, kind: str = JSON) -> tuple[int, str]:
        """Status and detail of a POST that must fail."""
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        status, answer = self.curl(path, body, *options, kind=kind)
        return status, json.loads(answer)["detail"]


def _succeed(main: Any, *arguments: str) -> None:
    with pytest.raises(SystemExit) as end:
        main(list(arguments))
    assert end.value.code in (0, None), arguments


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("vectors")
    config = parse_config(vector_config(write_table(folder / "people.csv")), origin="test")
    (folder / "config.toml").write_text(config_toml(config))
    run, models = str(folder / "run"), str(folder / "models")
    _succeed(training_cli.main, "run", str(folder / "config.toml"), "--out", run)
    _succeed(training_cli.main, "report", run)
    _succeed(export_cli.main, run, "--to", models)
    write_tiny_model(folder / "models" / "tiny" / "1")
    with serve(folder / "models", "--default-model", "people") as server:
        yield Served(server.url, server.welcome, folder / "run")


def _torch_mu(run_dir: Path, n: int) -> np.ndarray:
    run = load_model(run_dir)
    with torch.no_grad():
        mu = run.vae.encode(open_run_images(run).images(torch.arange(n)))[0]
    return mu.numpy()


def _npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def _row(number: int = 0) -> list[float]:
    row: list[float] = make_table()[number].tolist()
    return row


def test_encode_of_json_rows_equals_torch(served: Served) -> None:
    answer = served.ask("/encode?dims=all", {"rows": make_table()[:20].tolist()})
    np.testing.assert_allclose(answer["mu"], _torch_mu(served.run, 20), atol=1e-3)


def test_encode_takes_objects_by_column_name_in_any_order(served: Served) -> None:
    by_name = dict(reversed(list(zip(COLUMNS, _row(), strict=True))))
    expected = served.ask("/encode", {"rows": [_row()]})
    assert served.ask("/encode", {"rows": [by_name]}) == expected
    assert served.ask("/encode", [by_name]) == expected


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_encode_of_npy_rows_gives_npy(served: Served, dtype: type) -> None:
    rows = make_table()[:20].astype(dtype)
    status, body = served.curl("/encode?dims=all", _npy(rows), "-H", f"Accept: {NPY}", kind=NPY)
    assert status == 200
    np.testing.assert_allclose(np.load(io.BytesIO(body)), _torch_mu(served.run, 20), atol=1e-3)


def test_factors_place_a_row_among_the_training_rows(served: Served) -> None:
    usual, odd = served.ask("/factors", {"rows": [_row(), [170, 311, 100000, 0]]})["images"]
    assert all(1 <= factor["percentile"] <= 99 for factor in usual["factors"])
    assert odd["novelty"]["percentile"] == 99 > usual["novelty"]["percentile"]
    assert odd["novelty"]["elbo"] < usual["novelty"]["elbo"]


def test_decode_gives_rows_in_the_tables_units(served: Served) -> None:
    mu = served.ask("/encode?dims=all", {"rows": [_row()]})["mu"]
    answer = served.ask("/decode", {"latents": mu})
    assert answer["columns"] == list(COLUMNS)
    errors = (np.array(answer["rows"][0]) - _row()) / make_table().std(axis=0)
    assert np.abs(errors[:3]).max() < 2.5


def test_grids_of_rows_have_numbers_for_frames(served: Served) -> None:
    two = {"rows": [_row(0), _row(1)]}
    grid = served.ask("/traverse", {"rows": [_row()], "steps": 3, "dims": [0, 2]})
    assert [row["dim"] for row in grid["rows"]] == [0, 2]
    assert np.array(grid["rows"][0]["frames"]).shape == (3, 4)
    assert grid["frame_columns"] == list(COLUMNS)
    rebuilt = served.ask("/reconstruct", {"rows": [_row()]})
    assert rebuilt["rows"][0]["name"] == "row 0"
    np.testing.assert_allclose(rebuilt["rows"][0]["frames"][0], _row(), rtol=1e-6)
    walk = served.ask("/interpolate?steps=5", two)
    assert np.array(walk["rows"][0]["frames"]).shape == (5, 4)
    swapped = served.ask("/swap", {**two, "dims": [0]})
    assert swapped["columns"] == ["first", "second", "swapped"]


def test_traverse_without_a_row_starts_at_the_mean_and_gives_npy(served: Served) -> None:
    status, body = served.curl("/traverse?steps=4&dims=all", b"{}", "-H", f"Accept: {NPY}")
    assert status == 200
    assert np.load(io.BytesIO(body)).shape == (3, 4, 4)


@pytest.mark.parametrize(
    ("rows", "text"),
    [
        ([[1.0, 2.0]], "row 0 must have 4 numbers (`height`, `temperature`, `pressure`, `noise`)"),
        ([[1, 2, 3, "4"]], 'row 0, column `noise`: must be a number; got the text `"4"`'),
        ([[1, 2, 3, None]], "row 0, column `noise`: must be a number; got `null`"),
        ([[1, 2, True, 4]], "row 0, column `pressure`: must be a number; got `true`"),
        (
            [[1, 2, 3, float("nan")]],
            "row 0, column `noise`: must be a finite float32 number",
        ),
        ([[1, 2, 3, 1e39]], "column `noise`: must be a finite float32 number; got 1e+39"),
        ([{"height": 1, "pressure": 2}], "must give every column; missing `temperature`, `noise`"),
        ([dict.fromkeys([*COLUMNS, "age"], 1)], "`noise` and no others; got `age` too"),
        (
            [dict.fromkeys(["hight", *COLUMNS[1:]], 1)],
            "missing `height`; did you mean it by",
        ),
        ([], "field `rows`: must hold 1 or more; got 0"),
        ("rows", "field `rows`: must be a list; got `rows`"),
    ],
)
def test_wrong_rows_are_refused_by_row_and_column(served: Served, rows: Any, text: str) -> None:
    status, detail = served.refusal("/encode", {"rows": rows})
    assert status == 422
    assert text in detail


def test_wrong_arrays_are_refused(served: Served) -> None:
    status, detail = served.refusal("/encode", _npy(np.zeros((2, 3))), kind=NPY)
    assert (status, detail) == (
        422,
        "a row must have 4 numbers (`height`, `temperature`, `pressure`, `noise`); got 3",
    )
    status, detail = served.refusal("/encode", _npy(np.zeros((1, 8, 8), np.uint8)), kind=NPY)
    assert status == 422
    assert "the array must be float32 or float64; got dtype `|u1`" in detail


def test_a_picture_sent_to_a_model_of_rows_is_refused(served: Served) -> None:
    status, detail = served.refusal("/encode", b"\x89PNG", kind="image/png")
    assert status == 415
    assert detail.startswith("model `people` takes rows of 4 numbers and no images: `Content-Type`")
    status, detail = served.refusal("/encode", {"images": ["aGVsbG8="]})
    assert (status, detail.split(";")[0]) == (
        422,
        "field must be one of `rows`, `dims`, `top_k`, `threshold`",
    )


@pytest.mark.parametrize("path", ["/decode", "/traverse"])
def test_a_picture_asked_of_a_model_of_rows_is_refused(served: Served, path: str) -> None:
    status, detail = served.refusal(path, {"latents": [[0, 0, 0]]}, "-H", "Accept: image/png")
    assert status == 406
    assert detail.startswith("model `people` gives rows of numbers and no pictures: `Accept` must")


def test_rows_sent_to_a_model_of_images_are_refused(served: Served) -> None:
    status, detail = served.refusal("/encode?model=tiny", {"rows": [[1.0]]})
    assert (status, detail.split(";")[1]) == (422, " got `rows`")
    status, detail = served.refusal("/encode?model=tiny", _npy(np.zeros((1, 4))), kind=NPY)
    assert status == 422
    assert "the array must be uint8 in 0 … 255, or float32 in [0, 1]" in detail


def test_models_and_openapi_describe_rows(served: Served) -> None:
    show = ["curl", "-s", f"{served.url}/models/people"]
    manifest = json.loads(subprocess.check_output(show, timeout=60))["manifests"]["1"]
    assert manifest["vector"]["columns"] == list(COLUMNS)
    assert "image" not in manifest
    fetch = ["curl", "-s", f"{served.url}/openapi.json"]
    paths = json.loads(subprocess.check_output(fetch, timeout=60))["paths"]
    body = paths["/encode"]["post"]["requestBody"]["content"][JSON]["schema"]
    assert body == {
        "anyOf": [
            {"$ref": f"#/components/schemas/{name}"} for name in ("EncodeBody", "EncodeRowsBody")
        ]
    }


def test_welcome_shows_commands_that_work_with_rows(served: Served) -> None:
    commands = [line for line in served.welcome.splitlines() if line.startswith("  curl")]
    assert len(commands) == 3
    for command in commands:
        answer = json.loads(subprocess.check_output(["bash", "-c", command], timeout=60))
        assert answer["model"] == "people"
