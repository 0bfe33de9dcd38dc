"""The settings of keys and limits, as they come from the environment."""

import re

import pytest

from service.settings import SettingsError, load_settings

FIRST, SECOND = "a" * 64, "0123456789abcdef" * 4


def test_api_key_hashes_come_as_one_list(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RFVAE_API_KEY_HASHES", f"{FIRST.upper()} ,{SECOND},")

    assert load_settings().api_key_hashes == (FIRST, SECOND)


def test_api_key_hashes_refuse_a_key_without_showing_it() -> None:
    text = "64 hex digits each, as `rfvae-serve key` prints them; got 9 characters that are none"

    with pytest.raises(SettingsError, match=re.escape(text)) as caught:
        load_settings(api_key_hashes=f"{FIRST},my-secret")

    assert "my-secret" not in str(caught.value)


def test_auth_exempt_may_be_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RFVAE_AUTH_EXEMPT", "")

    assert load_settings().auth_exempt == ()


def test_auth_exempt_refuses_what_is_no_group() -> None:
    text = "Setting `auth_exempt`: input should be 'health', 'metrics' or 'docs'; got `encode`"

    with pytest.raises(SettingsError, match=re.escape(text)):
        load_settings(auth_exempt="health,encode")


def test_auth_on_needs_a_key() -> None:
    text = "`auth` is on, which needs `api_key_hashes`; got none; make a key with `rfvae-serve key`"

    with pytest.raises(SettingsError, match=re.escape(text)):
        load_settings(auth="on")


def test_a_body_must_fit_into_the_bytes_under_way() -> None:
    text = "`max_body_bytes` must not be above `max_in_flight_bytes` (2048); got 4096"

    with pytest.raises(SettingsError, match=re.escape(text)):
        load_settings(max_body_bytes=4096, max_in_flight_bytes=2048)
