"""Who signed a model folder, and what is refused."""

from __future__ import annotations

import re
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from service.errors import ArtifactError
from service.models.artifact import load_manifest
from service.models.registry import Registry
from service.models.repository import scan
from service.models.served import LoadOptions, load_model
from service.models.signature import SIGNATURE, Signatures, is_signed, load_signatures
from service.runtime.opening import EngineOptions
from tests.service.process import run
from tests.service.tiny_model import read_manifest, write_manifest, write_tiny_model

KEY = Ed25519PrivateKey.from_private_bytes(bytes(32))
OTHER_KEY = Ed25519PrivateKey.from_private_bytes(bytes([1] * 32))


def _sign(folder: Path, key: Ed25519PrivateKey = KEY) -> None:
    (folder / SIGNATURE).write_bytes(key.sign((folder / "manifest.json").read_bytes()))


def _write_public_key(path: Path, key: object = KEY) -> Path:
    public = key.public_key()  # type: ignore[attr-defined]
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    path.write_bytes(public.public_bytes(serialization.Encoding.PEM, form))
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_tiny_model(tmp_path / "repository" / "tiny" / "1")


@pytest.fixture
def public_key(tmp_path: Path) -> Path:
    return _write_public_key(tmp_path / "public.pem")


@pytest.fixture
def signatures(public_key: Path) -> Signatures:
    loaded = load_signatures([public_key], demanded=True)
    assert loaded is not None
    return loaded


def test_signed_manifest_loads(folder: Path, signatures: Signatures) -> None:
    _sign(folder)
    assert is_signed(folder)
    assert load_manifest(folder, signatures).name == "tiny"


def test_any_of_several_keys_may_have_signed(folder: Path, tmp_path: Path) -> None:
    _sign(folder)
    paths = [
        _write_public_key(tmp_path / f"{number}.pem", key)
        for number, key in enumerate((OTHER_KEY, KEY))
    ]
    assert load_manifest(folder, load_signatures(paths, demanded=True)).name == "tiny"


def test_unsigned_manifest_is_refused_where_a_signature_is_demanded(
    folder: Path, signatures: Signatures
) -> None:
    message = r"must be signed: `.*/tiny/1/manifest.json.sig` does not exist; sign with `rfvae-exp"
    with pytest.raises(ArtifactError, match=message):
        load_manifest(folder, signatures)


def test_unsigned_manifest_loads_where_none_is_demanded(
    folder: Path, signatures: Signatures
) -> None:
    assert load_manifest(folder, replace(signatures, demanded=False)).name == "tiny"


@pytest.mark.parametrize("demanded", [True, False])
def test_signature_by_another_key_is_refused(
    folder: Path, signatures: Signatures, demanded: bool
) -> None:
    _sign(folder, OTHER_KEY)
    message = "by one of the 1 keys in RFVAE_PUBLIC_KEYS: the manifest was changed after it was"
    with pytest.raises(ArtifactError, match=message):
        load_manifest(folder, replace(signatures, demanded=demanded))


def test_manifest_changed_after_signing_is_refused(folder: Path, signatures: Signatures) -> None:
    _sign(folder)
    write_manifest(folder, read_manifest(folder) | {"relevance_rule": "mine"})
    with pytest.raises(ArtifactError, match="the manifest was changed after it was signed, or ano"):
        load_manifest(folder, signatures)


def test_signature_of_another_length_is_refused(folder: Path, signatures: Signatures) -> None:
    (folder / SIGNATURE).write_bytes(b"short")
    with pytest.raises(ArtifactError, match=r"must be the signature of `manifest.json`"):
        load_manifest(folder, signatures)


def test_no_keys_mean_that_no_signature_is_looked_at(folder: Path) -> None:
    (folder / SIGNATURE).write_bytes(b"nonsense")
    assert load_signatures([], demanded=False) is None
    assert load_manifest(folder, None).name == "tiny"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot read the public key `{path}`: No such file or directory"),
        (b"hello", "`{path}` must be an Ed25519 public key in PEM: it is no PEM file of a public"),
    ],
)
def test_keys_that_cannot_be_used_are_named(
    tmp_path: Path, content: bytes | None, message: str
) -> None:
    path = tmp_path / "key.pem"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ArtifactError, match=re.escape(message.format(path=path))):
        load_signatures([path], demanded=True)


def test_keys_of_another_kind_are_named(tmp_path: Path) -> None:
    path = _write_public_key(tmp_path / "ec.pem", generate_private_key(SECP256R1()))
    with pytest.raises(ArtifactError, match="it holds a ECPublicKey; make one with `openssl pkey"):
        load_signatures([path], demanded=True)


def test_a_missing_package_is_one_clear_sentence(
    public_key: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.startswith("cryptography")]:
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ArtifactError, match=r"run `pip install 'rfvae\[signatures\]'`, or unset"):
        load_signatures([public_key], demanded=True)


async def test_swap_to_an_unsigned_version_is_refused_and_the_signed_one_goes_on(
    folder: Path, signatures: Signatures
) -> None:
    _sign(folder)
    options = LoadOptions(EngineOptions(device="cpu", lanes=1), signatures=signatures)
    registry = Registry(lambda found: load_model(found, options))
    repository = folder.parents[1]
    assert (await registry.sync(scan([repository]))).loaded == (("tiny", 1),)

    write_tiny_model(repository / "tiny" / "2", version=2)
    report = await registry.sync(scan([repository]))

    assert "must be signed" in report.failed["tiny", 2].detail
    assert registry.get("tiny").version == 1
    await registry.drain()


def test_serve_refuses_an_unsigned_folder_at_once(folder: Path, public_key: Path) -> None:
    trust = {"RFVAE_PUBLIC_KEYS": str(public_key), "RFVAE_REQUIRE_SIGNATURE": "true"}
    done = run("serve", "--port", "0", "--models", str(folder.parents[1]), **trust)
    assert done.returncode == 1
    assert done.stderr.startswith("error: a model folder must be signed: ")
    assert done.stderr.count("\n") == 1


def test_check_says_whether_the_folder_is_signed(folder: Path, public_key: Path) -> None:
    _sign(folder)
    done = run("check", str(folder), RFVAE_PUBLIC_KEYS=str(public_key))
    assert done.returncode == 0, done.stderr
    assert "signature  ok  by a key of RFVAE_PUBLIC_KEYS\n" in done.stdout


def test_a_signature_cannot_be_demanded_without_keys(folder: Path) -> None:
    done = run("check", str(folder), RFVAE_REQUIRE_SIGNATURE="1")
    assert done.returncode == 2
    assert "`require_signature` needs `public_keys` to check signatures with" in done.stderr
