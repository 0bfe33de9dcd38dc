"""Who signed a model folder: raw Ed25519 over the bytes of `manifest.json`, in a file beside it.

The manifest holds the hash of every other file, so its signature vouches for the whole folder.
`rfvae-export --sign` writes it. The package `cryptography` is needed for nothing else here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from service.errors import ArtifactError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

SIGNATURE = "manifest.json.sig"


class SignatureError(ArtifactError):
    """A public key cannot be used, or what checks signatures is not installed."""


@dataclass(frozen=True)
class Signatures:
    """Whose signatures count.

    Args:
        keys: any of them may have signed.
        demanded: whether a folder without a signature is refused.
    """

    keys: tuple[Ed25519PublicKey, ...]
    demanded: bool

    def check(self, folder: Path, manifest: bytes) -> None:
        """Let pass a manifest that one of the keys signed, or that nobody did if that is allowed.

        Raises:
            ArtifactError: it is unsigned though a signature is demanded, or its signature is by
                none of the keys, or over other bytes.
        """
        path = folder / SIGNATURE
        try:
            signature = path.read_bytes()
        except FileNotFoundError:
            if self.demanded:
                raise ArtifactError(
                    f"a model folder must be signed: `{path}` does not exist; sign with "
                    "`rfvae-export --sign KEY`, or unset RFVAE_REQUIRE_SIGNATURE"
                ) from None
            return
        except OSError as error:
            raise ArtifactError(f"`{path}` cannot be read: {error.strerror}") from None
        if not any(_is_signed_by(key, signature, manifest) for key in self.keys):
            raise ArtifactError(
                f"`{path}` must be the signature of `manifest.json` by one of the "
                f"{len(self.keys)} keys in RFVAE_PUBLIC_KEYS: the manifest was changed after it "
                "was signed, or another key signed it; export again, or add the signer's key"
            )


def is_signed(folder: Path) -> bool:
    """Whether the folder has a signature; `Signatures.check` says whether it is a good one."""
    return (folder / SIGNATURE).exists()


def load_signatures(paths: Sequence[Path], *, demanded: bool) -> Signatures | None:
    """Read the public keys; None where nothing is to be checked.

    Args:
        paths: PEM files of Ed25519 public keys.

    Raises:
        SignatureError: a file is missing or is no such key, or `cryptography` is not installed.
    """
    if not paths:
        return None
    return Signatures(tuple(_load_key(path) for path in paths), demanded)


def _load_key(path: Path) -> Ed25519PublicKey:
    try:
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
        from cryptography.hazmat.primitives.serialization import load_pem_public_key
    except ImportError:
        raise SignatureError(
            "checking signatures needs the package `cryptography`, which is not installed: run "
            "`pip install 'rfvae[signatures]'`, or unset RFVAE_PUBLIC_KEYS"
        ) from None
    try:
        key: Any = load_pem_public_key(path.read_bytes())
    except OSError as error:
        raise SignatureError(f"cannot read the public key `{path}`: {error.strerror}") from None
    except ValueError:
        raise _not_a_key(path, "it is no PEM file of a public key") from None
    if not isinstance(key, Ed25519PublicKey):
        raise _not_a_key(path, f"it holds a {type(key).__name__}")
    return key


def _is_signed_by(key: Ed25519PublicKey, signature: bytes, content: bytes) -> bool:
    from cryptography.exceptions import InvalidSignature

    try:
        key.verify(signature, content)
    except InvalidSignature:
        return False
    return True


def _not_a_key(path: Path, reason: str) -> SignatureError:
    return SignatureError(
        f"`{path}` must be an Ed25519 public key in PEM: {reason}; make one with "
        "`openssl pkey -in private.pem -pubout -out public.pem`"
    )
