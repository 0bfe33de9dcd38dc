import re
from pathlib import Path

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from onnx_export.errors import ExportError
from onnx_export.sign import load_private_key, sign_folder


def write_key(path: Path, key: object, *, passphrase: bytes | None = None) -> Path:
    encryption = (
        serialization.BestAvailableEncryption(passphrase)
        if passphrase
        else serialization.NoEncryption()
    )
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption
    )
    path.write_bytes(pem)
    return path


@pytest.fixture
def key_path(tmp_path: Path) -> Path:
    return write_key(tmp_path / "private.pem", Ed25519PrivateKey.from_private_bytes(bytes(32)))


def test_sign_writes_a_signature_that_the_public_key_accepts(
    tmp_path: Path, key_path: Path
) -> None:
    (tmp_path / "manifest.json").write_text("{}")
    key = load_private_key(key_path)
    sign_folder(tmp_path, key)

    signature = (tmp_path / "manifest.json.sig").read_bytes()
    assert len(signature) == 64
    key.public_key().verify(signature, b"{}")
    with pytest.raises(InvalidSignature):
        key.public_key().verify(signature, b"{ }")


def test_sign_twice_gives_the_same_bytes(tmp_path: Path, key_path: Path) -> None:
    (tmp_path / "manifest.json").write_text("{}")
    signatures = set()
    for _ in range(2):
        sign_folder(tmp_path, load_private_key(key_path))
        signatures.add((tmp_path / "manifest.json.sig").read_bytes())
    assert len(signatures) == 1


def test_sign_refuses_a_key_that_is_not_there(tmp_path: Path) -> None:
    path = tmp_path / "nowhere.pem"
    message = f"cannot read the key `{path}`: No such file or directory"
    with pytest.raises(ExportError, match=re.escape(message)):
        load_private_key(path)


def test_sign_refuses_what_is_no_key(tmp_path: Path) -> None:
    path = tmp_path / "text.pem"
    path.write_text("hello")
    message = f"`{path}` must be an Ed25519 private key in PEM, without passphrase: "
    with pytest.raises(ExportError, match=re.escape(message)):
        load_private_key(path)


def test_sign_refuses_a_key_of_another_kind(tmp_path: Path) -> None:
    path = write_key(tmp_path / "ec.pem", generate_private_key(SECP256R1()))
    with pytest.raises(ExportError, match="without passphrase: it holds a ECPrivateKey; make one"):
        load_private_key(path)


def test_sign_refuses_an_encrypted_key(tmp_path: Path) -> None:
    key = Ed25519PrivateKey.generate()
    path = write_key(tmp_path / "secret.pem", key, passphrase=b"secret")
    with pytest.raises(ExportError, match="must be an Ed25519 private key in PEM, without pass"):
        load_private_key(path)
