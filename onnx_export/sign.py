"""Signs a model folder with an Ed25519 key: who exported it, not only that nothing changed since.

The signature covers the bytes of `manifest.json`, which holds the hash of every other file. It is
raw (64 bytes), as `openssl pkeyutl -verify -rawin -pubin -inkey PUBLIC -sigfile manifest.json.sig
-in manifest.json` reads it. A key pair: `openssl genpkey -algorithm ed25519 -out private.pem` and
`openssl pkey -in private.pem -pubout -out public.pem`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from onnx_export.errors import ExportError
from service.models.artifact import MANIFEST
from service.models.signature import SIGNATURE

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey


def load_private_key(path: Path) -> Ed25519PrivateKey:
    """Read a PEM file without passphrase.

    Raises:
        ExportError: the file is missing, encrypted, or not an Ed25519 private key, or the package
            `cryptography` is not installed.
    """
    try:
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
        from cryptography.hazmat.primitives.serialization import load_pem_private_key
    except ImportError as error:
        raise ExportError(
            "signing needs the package `cryptography`: run `pip install cryptography`"
        ) from error
    try:
        key = load_pem_private_key(path.read_bytes(), password=None)
    except OSError as error:
        raise ExportError(f"cannot read the key `{path}`: {error.strerror}") from error
    except (ValueError, TypeError) as error:
        raise _not_a_key(path, str(error)) from error
    if not isinstance(key, Ed25519PrivateKey):
        raise _not_a_key(path, f"it holds a {type(key).__name__}")
    return key


def sign_folder(folder: Path, key: Ed25519PrivateKey) -> None:
    """Write `manifest.json.sig`; the same manifest and key give the same bytes."""
    (folder / SIGNATURE).write_bytes(key.sign((folder / MANIFEST).read_bytes()))


def _not_a_key(path: Path, reason: str) -> ExportError:
    return ExportError(
        f"`{path}` must be an Ed25519 private key in PEM, without passphrase: "
        f"{' '.join(reason.split())}; make one with `openssl genpkey -algorithm ed25519`"
    )
