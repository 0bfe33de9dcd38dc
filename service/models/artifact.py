"""The model folder: what `manifest.json` says, and the checks before anything in it is served.

A folder is REPOSITORY/NAME/VERSION/ with encoder.onnx, decoder.onnx, manifest.json, golden.npz and
MODEL_CARD.md. The exporter writes these models, the service reads them; both use this module.
"""

from __future__ import annotations

import hashlib
import json
import stat
from pathlib import Path

import numpy as np
import numpy.typing as npt
from pydantic import ValidationError

from service.errors import ArtifactError, one_line
from service.models.golden import Golden, load_golden
from service.models.manifest import (
    REQUIRED_FILES,
    Dimension,
    FileEntry,
    ImageSpec,
    Manifest,
    Parity,
    Quantiles,
    TrainingFacts,
    VectorSpec,
    is_plain_name,
)
from service.models.signature import Signatures

__all__ = [
    "FORMAT_VERSION",
    "MANIFEST",
    "REQUIRED_FILES",
    "ArtifactError",
    "Dimension",
    "FileEntry",
    "Golden",
    "ImageSpec",
    "Manifest",
    "Parity",
    "Quantiles",
    "TrainingFacts",
    "VectorSpec",
    "decoded_errors",
    "load_golden",
    "load_manifest",
    "sha256_of",
    "verify_files",
]

FORMAT_VERSION = 2  # of models of rows, or with a `likelihood_scale`; all others have 1
MANIFEST = "manifest.json"
MANIFEST_MAX_BYTES = 16 * 1024 * 1024


def load_manifest(folder: Path, signatures: Signatures | None = None) -> Manifest:
    """Read and check `manifest.json`.

    Args:
        signatures: who must have signed it; None looks at no signature.

    Raises:
        ArtifactError: with one clear line that names the file and, where it can, the field.
    """
    path = folder / MANIFEST
    raw = _read_manifest(folder, path)
    if signatures is not None:
        signatures.check(folder, raw)
    try:
        document = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise ArtifactError(f"`{path}` must be JSON: {one_line(error)}; export again") from None
    _check_format_version(path, document)
    try:
        return Manifest.model_validate_json(raw, strict=True)
    except ValidationError as error:
        raise ArtifactError(f"`{path}` is not a valid manifest: {_first_problem(error)}") from None


def verify_files(folder: Path, manifest: Manifest) -> None:
    """Compare size and SHA-256 of every listed file with the manifest.

    Raises:
        ArtifactError: naming the first file that is missing or differs.
    """
    for name, entry in manifest.files.items():
        if not is_plain_name(name):
            raise ArtifactError(f"`files` must hold plain names without folders; got `{name}`")
        _verify_file(folder / name, entry)


def decoded_errors(
    expected: npt.NDArray[np.float32], got: npt.NDArray[np.float32], vector: VectorSpec | None
) -> npt.NDArray[np.float64]:
    """How far decoded samples lie apart: in pixel values, or in each column's `scale`.

    In a row, what two steps of float32 at that number explain is no error: 300.1 and 300.10003
    are neighbors, however small the column's scale is.
    """
    errors: npt.NDArray[np.float64] = np.abs(expected.astype(np.float64) - got)
    if vector is None:
        return errors
    resolution = 2 * np.spacing(np.abs(expected), dtype=np.float32).astype(np.float64)
    beyond = np.maximum(errors - resolution, 0.0) / np.array(vector.scale)
    return np.asarray(beyond)


def sha256_of(path: Path) -> str:
    """SHA-256 of a file in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _size_of_plain_file(path: Path) -> int:
    """In bytes; refuses what reading might wait for, or never come to the end of."""
    found = path.stat()
    if not stat.S_ISREG(found.st_mode):
        raise ArtifactError(f"`{path}` must be a plain file; copy the whole folder again")
    return found.st_size


def _read_manifest(folder: Path, path: Path) -> bytes:
    if not folder.is_dir():
        raise ArtifactError(f"model folder `{folder}` does not exist; check the repository's path")
    try:
        _size_of_plain_file(path)
        with path.open("rb") as file:
            raw = file.read(MANIFEST_MAX_BYTES + 1)
    except FileNotFoundError:
        raise ArtifactError(
            f"model folder `{folder}` has no `{MANIFEST}`; write it with rfvae-export"
        ) from None
    except OSError as error:
        raise ArtifactError(f"`{path}` cannot be read: {error.strerror}") from None
    if len(raw) > MANIFEST_MAX_BYTES:
        raise ArtifactError(f"`{path}` must be at most {MANIFEST_MAX_BYTES} bytes; it is larger")
    return raw


def _check_format_version(path: Path, document: object) -> None:
    """Before the schema, so that a later format is named as such and not as its first new field."""
    if not isinstance(document, dict):
        raise ArtifactError(f"`{path}` must be a JSON object; got {type(document).__name__}")
    version = document.get("format_version")
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise ArtifactError(
            f"`{path}`: `format_version` must be an integer from 1 to {FORMAT_VERSION}; "
            f"got {_short(version)}"
        )
    if version > FORMAT_VERSION:
        raise ArtifactError(
            f"`{path}` has format {version}; this service reads up to {FORMAT_VERSION}; "
            "upgrade the service or export with an older version"
        )


def _verify_file(path: Path, entry: FileEntry) -> None:
    try:
        size_bytes = _size_of_plain_file(path)
        if size_bytes != entry.size_bytes:
            raise ArtifactError(
                f"`{path}` must have {entry.size_bytes} bytes as the manifest says; "
                f"got {size_bytes}; copy the folder again"
            )
        digest = sha256_of(path)
    except OSError as error:
        raise ArtifactError(
            f"`{path}` is listed in the manifest but cannot be read: {error.strerror}; "
            "copy the whole folder again"
        ) from None
    if digest != entry.sha256:
        raise ArtifactError(
            f"`{path}` was changed after the export: SHA-256 must be {entry.sha256[:12]}…; "
            f"got {digest[:12]}…; copy the folder again"
        )


def _first_problem(error: ValidationError) -> str:
    problems = error.errors(include_url=False, include_context=False)
    first = problems[0]
    where = ".".join(str(step) for step in first["loc"])
    message = first["msg"].removeprefix("Value error, ")
    field = f"`{where}`: " if where else ""
    got = "" if first["type"] in {"value_error", "missing"} else f"; got {_short(first['input'])}"
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    return f"{field}{message}{got}{more}"


def _short(value: object, longest: int = 60) -> str:
    text = repr(value)
    return f"`{text if len(text) <= longest else text[:longest] + '…'}`"
