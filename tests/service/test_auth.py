"""Keys, their hashes, and when a server may do without."""

import hashlib
import re

import pytest

from service.auth import KeyRing, hash_of, is_loopback, make_key, require_keys
from service.settings import Settings, SettingsError

HASH = hash_of(b"key")


def test_make_key_never_makes_the_same_twice() -> None:
    keys = {make_key() for _ in range(100)}

    assert len(keys) == 100
    assert all(re.fullmatch(r"rfvae_[A-Za-z0-9_-]{43}", key) for key in keys)


def test_hash_of_is_sha_256_as_other_tools_make_it() -> None:
    assert hash_of(b"key") == hashlib.sha256(b"key").hexdigest()


def test_key_ring_knows_each_of_its_keys_and_no_other() -> None:
    ring = KeyRing([hash_of(b"first"), hash_of(b"second")])

    known = [ring.knows(key) for key in (b"first", b"second", b"third", b"", b"\xff")]
    assert known == [True, True, False, False, False]


def test_key_ring_does_not_take_a_hash_for_a_key() -> None:
    assert not KeyRing([HASH]).knows(HASH.encode())


def test_key_ring_without_keys_lets_nobody_in() -> None:
    assert not KeyRing([]).knows(b"key")


@pytest.mark.parametrize(
    ("address", "loopback"),
    [
        *(("127.0.0.1", True), ("127.8.9.1", True), ("::1", True)),
        *(("0.0.0.0", False), ("::", False), ("10.0.0.7", False), ("fe80::1%eth0", False)),
    ],
)
def test_is_loopback(address: str, loopback: bool) -> None:
    assert is_loopback(address) is loopback


@pytest.mark.parametrize(
    ("address", "settings"),
    [
        ("127.0.0.1", Settings()),
        ("0.0.0.0", Settings(auth="off")),
        ("0.0.0.0", Settings(api_key_hashes=(HASH,))),
        (None, Settings(auth="off")),
        (None, Settings(api_key_hashes=(HASH,))),
    ],
)
def test_require_keys_is_content(address: str | None, settings: Settings) -> None:
    require_keys(settings, address)


@pytest.mark.parametrize(
    ("address", "place"),
    [("0.0.0.0", "the address 0.0.0.0"), (None, "an unknown address")],
)
def test_require_keys_refuses_to_listen_openly_without_one(address: str | None, place: str) -> None:
    with pytest.raises(SettingsError) as caught:
        require_keys(Settings(), address)

    assert str(caught.value) == (
        f"a service that other machines reach must ask for API keys; got {place} and no "
        "key; make one with `rfvae-serve key` and put its hash into RFVAE_API_KEY_HASHES, or say "
        "RFVAE_AUTH=off"
    )
