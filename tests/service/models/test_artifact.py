"""Reading a model folder: what is accepted, and one clear line for everything that is not."""

from __future__ import annotations

import json
import os
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from service.errors import ArtifactError, UnsupportedMediaType
from service.models.artifact import (
    Manifest,
    Quantiles,
    VectorSpec,
    decoded_errors,
    load_golden,
    load_manifest,
    sha256_of,
    verify_files,
)
from tests.service.tiny_model import read_manifest, write_manifest, write_tiny_model

Change = Callable[[dict[str, Any]], object]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_tiny_model(tmp_path / "tiny" / "1")


def test_load_manifest_reads_every_field(folder: Path) -> None:
    manifest = load_manifest(folder)
    assert (manifest.name, manifest.version, manifest.latent_dim) == ("tiny", 1, 4)
    assert manifest.image.shape == (1, 16, 16)
    assert manifest.relevant_dims == [2, 0]
    assert manifest.dimensions[2].name == "x position"
    assert set(manifest.files) == {"encoder.onnx", "decoder.onnx", "golden.npz", "MODEL_CARD.md"}


def test_manifest_survives_a_round_trip_through_json(folder: Path) -> None:
    manifest = load_manifest(folder)
    assert Manifest.model_validate_json(manifest.model_dump_json(), strict=True) == manifest


def test_quantiles_values_rise() -> None:
    quantiles = Quantiles(p1=-2, p5=-1, p25=0, p50=0, p75=1, p95=2, p99=3)
    assert quantiles.values() == (-2, -1, 0, 0, 1, 2, 3)
    with pytest.raises(ValueError, match="quantiles must not fall from p1 to p99"):
        Quantiles(p1=3, p5=-1, p25=0, p50=0, p75=1, p95=2, p99=3)


def test_load_manifest_refuses_a_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"model folder `.*nowhere` does not exist"):
        load_manifest(tmp_path / "nowhere")


def test_load_manifest_refuses_a_folder_without_manifest(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"has no `manifest.json`; write it with rfvae-export"):
        load_manifest(tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", r"manifest.json` must be JSON: .*; export again$"),
        ("[" * 100_000, r"manifest.json` must be JSON"),
        ("[]", r"manifest.json` must be a JSON object; got list$"),
        ("{}", r"`format_version` must be an integer from 1 to 2; got `None`$"),
        ('{"format_version": true}', r"`format_version` must be .*; got `True`$"),
        ('{"format_version": "1"}', r"`format_version` must be .*; got `'1'`$"),
        ('{"format_version": 0}', r"`format_version` must be .*; got `0`$"),
        (
            '{"format_version": 3, "new": 1}',
            r"has format 3; this service reads up to 2; upgrade the service",
        ),
        (
            '{"format_version": 1}',
            r"is not a valid manifest: `name`: Field required \(and \d+ more",
        ),
    ],
)
def test_load_manifest_refuses_what_is_not_a_manifest(
    tmp_path: Path, text: str, message: str
) -> None:
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(ArtifactError, match=message) as caught:
        load_manifest(tmp_path)
    assert "\n" not in caught.value.detail


def _set(path: str, value: object) -> Change:
    def change(manifest: dict[str, Any]) -> None:
        *steps, last = path.split(".")
        part: Any = manifest
        for step in steps:
            part = part[int(step)] if step.isdigit() else part[step]
        part[last] = value

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_set("extra", 1), "`extra`: Extra inputs are not permitted"),
        (_set("name", "../etc"), "`name`: String should match pattern .*; got `'../etc'`"),
        (_set("version", 0), "`version`: Input should be greater than or equal to 1; got `0`"),
        (_set("latent_dim", "4"), "`latent_dim`: Input should be a valid integer; got `'4'`"),
        (_set("image.channels", 2), "`image.channels`: Input should be 1 or 3; got `2`"),
        (_set("latent_dim", 3_000_000_000), "`latent_dim`: .*less than or equal to 4096"),
        (_set("dimensions.1.name", "z3"), "names of dimensions must be printable, .* got 'z3'"),
        (_set("dimensions.1.name", "a\x1b[31m"), "names of dimensions must be printable"),
        (_set("latent_dim", 5), r"`dimensions` must list dims 0 to 4 in order.*got \[0, 1, 2, 3\]"),
        (_set("relevant_dims", [2]), r"`relevant_dims` must hold .*got \[2\], marked are \[0, 2\]"),
        (_set("relevant_dims", [2, 2, 0]), r"`relevant_dims` must hold .*got \[2, 2, 0\]"),
        (_set("relevant_dims", [2, 9]), r"`relevant_dims` must hold .*got \[2, 9\]"),
        (
            _set("dimensions.1.relevance", 1.5),
            "`dimensions.1.relevance`: .*less than or equal to 1",
        ),
        (
            _set("dimensions.0.mu_quantiles.p99", -9.0),
            "`dimensions.0.mu_quantiles`: quantiles must",
        ),
        (_set("likelihood", "poisson"), "`likelihood`: Input should be 'bernoulli' or 'gaussian'"),
    ],
)
def test_load_manifest_names_the_wrong_field(folder: Path, change: Change, message: str) -> None:
    manifest = read_manifest(folder)
    change(manifest)
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ArtifactError, match=f"is not a valid manifest: {message}"):
        load_manifest(folder)


def test_load_manifest_refuses_numbers_that_are_not_finite(folder: Path) -> None:
    text = (folder / "manifest.json").read_text().replace('"mu_mean": 0.0', '"mu_mean": NaN')
    (folder / "manifest.json").write_text(text)
    with pytest.raises(ArtifactError, match=r"`dimensions.0.mu_mean`: .*finite number; got `nan`"):
        load_manifest(folder)


@pytest.mark.parametrize("name", ["../secret", "a/b", "a\\b", "..", ""])
def test_load_manifest_refuses_file_names_with_folders(folder: Path, name: str) -> None:
    manifest = read_manifest(folder)
    manifest["files"][name] = manifest["files"]["golden.npz"]
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ArtifactError, match="`files` must hold plain names without folders"):
        load_manifest(folder)


def test_load_manifest_refuses_a_manifest_that_lists_no_decoder(folder: Path) -> None:
    manifest = read_manifest(folder)
    del manifest["files"]["decoder.onnx"]
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ArtifactError, match=r"`files` must list .* missing \['decoder.onnx'\]"):
        load_manifest(folder)


def test_load_manifest_refuses_a_huge_file(folder: Path) -> None:
    (folder / "manifest.json").write_bytes(b" " * (16 * 1024 * 1024 + 1))
    with pytest.raises(ArtifactError, match="must be at most 16777216 bytes"):
        load_manifest(folder)


def test_verify_files_accepts_an_untouched_folder(folder: Path) -> None:
    verify_files(folder, load_manifest(folder))


def test_verify_files_names_a_tampered_file(folder: Path) -> None:
    manifest = load_manifest(folder)
    path = folder / "encoder.onnx"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    expected, received = manifest.files["encoder.onnx"].sha256[:12], sha256_of(path)[:12]
    text = f"was changed after the export: SHA-256 must be {expected}…; got {received}…"
    with pytest.raises(ArtifactError, match=f"encoder.onnx` {re.escape(text)}"):
        verify_files(folder, manifest)


def test_verify_files_names_a_file_of_another_size(folder: Path) -> None:
    manifest = load_manifest(folder)
    size_bytes = manifest.files["golden.npz"].size_bytes
    with (folder / "golden.npz").open("ab") as file:
        file.write(b"x")
    message = rf"golden.npz` must have {size_bytes} bytes .*; got {size_bytes + 1}"
    with pytest.raises(ArtifactError, match=message):
        verify_files(folder, manifest)


def test_verify_files_names_a_missing_file(folder: Path) -> None:
    manifest = load_manifest(folder)
    (folder / "decoder.onnx").unlink()
    message = r"decoder.onnx` is listed in the manifest but cannot be read: No such file"
    with pytest.raises(ArtifactError, match=message):
        verify_files(folder, manifest)


def test_load_golden_gives_matching_arrays(folder: Path) -> None:
    golden = load_golden(folder)
    assert golden.image.dtype == np.uint8
    assert golden.image.shape == golden.decoded.shape == (4, 1, 16, 16)
    assert golden.mu.shape == golden.logvar.shape == golden.z.shape == (4, 4)


def test_load_golden_refuses_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"golden.npz` does not exist; export the model again"):
        load_golden(tmp_path)


def test_load_golden_refuses_a_missing_array(folder: Path) -> None:
    np.savez(folder / "golden.npz", image=np.zeros((1, 1, 16, 16), np.uint8))
    message = r"must hold the arrays image, mu, logvar, z, decoded: .*mu.npy"
    with pytest.raises(ArtifactError, match=message):
        load_golden(folder)


@pytest.mark.parametrize("content", [b"", b"not a zip", b"PK\x03\x04" + b"\0" * 40])
def test_load_golden_refuses_a_damaged_file(folder: Path, content: bytes) -> None:
    (folder / "golden.npz").write_bytes(content)
    with pytest.raises(ArtifactError, match="must hold the arrays image, mu, logvar, z, decoded"):
        load_golden(folder)


def test_load_golden_never_unpickles(folder: Path) -> None:
    np.savez(folder / "golden.npz", image=np.array([{}], dtype=object))
    with pytest.raises(ArtifactError, match="which are never unpickled"):
        load_golden(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({}, None),
        ({"mu": np.zeros((0, 4), np.float32)}, r"one or more; got \[4, 0, 4, 4, 4\]"),
        ({"mu": np.zeros((3, 4), np.float32)}, r"as many rows as its partners.*\[4, 3, 4, 4, 4\]"),
        ({"z": np.zeros((), np.float32)}, r"got \[4, 4, 4, 0, 4\]"),
        ({"mu": np.zeros((4, 4), np.complex64)}, "must be uint8 or float32; got dtype `<c8`"),
        ({"mu": np.full((4, 4), "x")}, "must be uint8 or float32; got dtype `<U1`"),
    ],
)
def test_load_golden_refuses_what_tests_nothing(
    folder: Path, change: dict[str, np.ndarray], message: str | None
) -> None:
    np.savez(folder / "golden.npz", **{**vars(load_golden(folder)), **change})
    if message is None:
        load_golden(folder)
        return
    with pytest.raises(ArtifactError, match=message):
        load_golden(folder)


def test_load_golden_makes_no_room_for_what_is_not_there(folder: Path) -> None:
    header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000000, 6), }\n"
    claim = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header
    with zipfile.ZipFile(folder / "golden.npz", "w") as archive:
        archive.writestr("image.npy", claim)
    with pytest.raises(ArtifactError, match="needs 24000000000000 bytes of data, got 0"):
        load_golden(folder)


def test_verify_files_waits_for_nothing(folder: Path) -> None:
    manifest = load_manifest(folder)
    card = folder / "MODEL_CARD.md"
    card.unlink()
    os.mkfifo(card)
    with pytest.raises(ArtifactError, match=r"MODEL_CARD.md` must be a plain file; copy the whole"):
        verify_files(folder, manifest)
    card.unlink()
    card.symlink_to("/dev/zero")
    with pytest.raises(ArtifactError, match=r"MODEL_CARD.md` must be a plain file; copy the whole"):
        verify_files(folder, manifest)


def test_verify_files_compares_sizes_before_it_reads(folder: Path) -> None:
    manifest = load_manifest(folder)
    os.truncate(folder / "MODEL_CARD.md", 2**40)  # sparse: to hash it would take minutes
    with pytest.raises(ArtifactError, match=r"bytes as the manifest says; got 1099511627776"):
        verify_files(folder, manifest)


def test_write_tiny_model_is_reproducible(tmp_path: Path) -> None:
    first, second = (write_tiny_model(tmp_path / name) for name in ("a", "b"))
    manifest = read_manifest(first)
    assert manifest == read_manifest(second)
    write_manifest(first, manifest)
    assert load_manifest(first) == load_manifest(second)


def _as_rows(manifest: dict[str, Any]) -> None:
    del manifest["image"]
    manifest |= {"format_version": 2, "likelihood": "gaussian", "likelihood_scale": 0.3}
    manifest["vector"] = {"columns": ["a", "b"], "offset": [0, 170.5], "scale": [1, 0.1]}


def test_manifest_of_rows_reads_and_writes_its_own_fields(folder: Path) -> None:
    fields = read_manifest(folder)
    _as_rows(fields)
    write_manifest(folder, fields)

    manifest = load_manifest(folder)

    assert (manifest.sample.shape, manifest.sample.tensor) == ((2,), ("row", "float32"))
    assert manifest.likelihood_scale == 0.3
    written = json.loads(manifest.model_dump_json())
    assert "image" not in written
    assert written["vector"]["columns"] == ["a", "b"]


def test_manifest_of_images_has_the_fields_of_format_1_only(folder: Path) -> None:
    written = json.loads(load_manifest(folder).model_dump_json())
    assert written.keys() == read_manifest(folder).keys()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"vector": None}, "one of `image` and `vector` must say what the model takes"),
        ({"likelihood_scale": 0.0}, "`likelihood_scale`: Input should be greater than 0"),
        (
            {"vector": {"columns": ["a"], "offset": [0, 1], "scale": [1]}},
            "must have one entry for each column; got 1, 2 and 1",
        ),
        (
            {"vector": {"columns": ["a", "a"], "offset": [0, 1], "scale": [1, 1]}},
            "`columns` must not hold a name twice",
        ),
        (
            {"vector": {"columns": ["a"], "offset": [0], "scale": [0]}},
            "`vector.scale.0`: Input should be greater than 0",
        ),
    ],
)
def test_manifest_of_rows_that_contradicts_itself_is_refused(
    folder: Path, change: dict[str, Any], message: str
) -> None:
    fields = read_manifest(folder)
    _as_rows(fields)
    write_manifest(folder, fields | change)
    with pytest.raises(ArtifactError, match=re.escape(message)):
        load_manifest(folder)


def test_manifest_of_rows_says_that_it_takes_no_images(folder: Path) -> None:
    fields = read_manifest(folder)
    _as_rows(fields)
    write_manifest(folder, fields)
    message = "model `tiny` takes rows of 2 numbers and no images; POST them to /encode"
    with pytest.raises(UnsupportedMediaType, match=message):
        load_manifest(folder).require_image()


def test_decoded_rows_differ_in_units_of_each_columns_scale() -> None:
    vector = VectorSpec(columns=["a", "b"], offset=[0, 300], scale=[10, 0.1])
    expected = np.array([[5.0, 300.1]], np.float32)
    neighbor = np.nextafter(expected, np.float32(1e9))
    assert decoded_errors(expected, neighbor, vector).max() == 0
    errors = decoded_errors(expected, expected + np.float32(1), vector)
    np.testing.assert_allclose(errors, [[0.1, 10]], rtol=1e-2)
