"""API keys: made here, known to the service by their hashes only."""

import hashlib
import hmac
import ipaddress
import secrets
from collections.abc import Iterable
from typing import Final

from service.settings import Settings, SettingsError

PREFIX: Final = "rfvae_"  # lets scanners find a key that was published by mistake
KEY_BYTES: Final = 32


def make_key() -> str:
    """A new key of 256 random bits; so many need no slow hash."""
    return PREFIX + secrets.token_urlsafe(KEY_BYTES)


def hash_of(key: bytes) -> str:
    """What the settings hold of a key: SHA-256 in hex."""
    return hashlib.sha256(key).hexdigest()


class KeyRing:
    """The keys that are let in."""

    def __init__(self, hashes: Iterable[str]) -> None:
        self._hashes = tuple(hashes)

    def knows(self, key: bytes) -> bool:
        """Whether it is one of them; takes as long for any other key."""
        given = hash_of(key)
        found = False
        for known in self._hashes:
            found |= hmac.compare_digest(given, known)
        return found


def is_loopback(address: str) -> bool:
    """Whether only this machine reaches the address."""
    return ipaddress.ip_address(address.partition("%")[0]).is_loopback


def require_keys(settings: Settings, address: str | None) -> None:
    """Refuses to listen openly without keys.

    Args:
        address: what the server listens on, as numbers; None where something else chooses it.

    Raises:
        SettingsError: keys are needed, there are none, and nobody said that none are wanted.
    """
    if settings.is_for_this_machine and (address is None or not is_loopback(address)):
        place = "an unknown address" if address is None else f"the address {address}"
        raise SettingsError(
            f"a service that other machines reach must ask for API keys; got {place} and no key; "
            "make one with `rfvae-serve key` and put its hash into RFVAE_API_KEY_HASHES, or say "
            "RFVAE_AUTH=off"
        )
