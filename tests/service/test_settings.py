"""Settings: defaults, ranges, the environment, and the one line that a person reads."""

import os
import re
from pathlib import Path

import pytest

from service.settings import BUNDLED, Settings, SettingsError, load_settings


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in list(os.environ):
        if variable.upper().startswith("RFVAE_"):
            monkeypatch.delenv(variable)


def test_settings_default_to_loopback_and_the_bundled_models() -> None:
    settings = load_settings()

    assert (settings.host, settings.port) == ("127.0.0.1", 8000)
    assert settings.model_repository == (BUNDLED,)


def test_the_color_model_is_the_default_of_the_bundled_ones_only() -> None:
    assert load_settings().default_model == "color-oval-dsprites"
    assert (BUNDLED / "color-oval-dsprites").is_dir()
    assert load_settings(model_repository=(BUNDLED, "/mine")).default_model is None
    assert load_settings(default_model="oval-dsprites").default_model == "oval-dsprites"


def test_an_empty_default_model_is_one_that_is_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RFVAE_DEFAULT_MODEL", "")
    assert load_settings().default_model == "color-oval-dsprites"
    assert load_settings(model_repository="/mine").default_model is None


def test_settings_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RFVAE_MAX_STEPS", "21")
    monkeypatch.setenv("RFVAE_MODEL_REPOSITORY", os.pathsep.join(["/a", "/b"]))

    settings = load_settings()

    assert settings.max_steps == 21
    assert settings.model_repository == (Path("/a"), Path("/b"))


def test_settings_options_win_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RFVAE_PORT", "9000")

    assert load_settings(port=9001, host=None).port == 9001


def test_settings_are_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        load_settings().port = 1


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("port", 65536, "Setting `port`: input should be less than or equal to 65535; got `65536`"),
        ("port", -1, "Setting `port`: input should be greater than or equal to 0; got `-1`"),
        ("max_steps", 1, "Setting `max_steps`: input should be greater than or equal to 2"),
        ("device", "tpu", "input should be 'auto', 'cpu', 'cuda' or 'tensorrt'; got `tpu`"),
        ("model_repository", "", "Setting `model_repository`: must name at least one folder"),
    ],
)
def test_settings_refuse_a_value_out_of_range(name: str, value: object, text: str) -> None:
    with pytest.raises(SettingsError, match=re.escape(text)) as caught:
        load_settings(**{name: value})

    assert f"RFVAE_{name.upper()}" in str(caught.value)


def test_settings_refuse_more_rows_a_request_than_the_queue_holds() -> None:
    text = "`max_rows` must not be above `max_queue_rows` (10); got 11"

    with pytest.raises(SettingsError, match=re.escape(text)):
        load_settings(max_rows=11, max_queue_rows=10)


def test_settings_refuse_a_default_timeout_above_the_longest() -> None:
    text = "`request_timeout_ms` must not be above `max_request_timeout_ms` (5); got 6"

    with pytest.raises(SettingsError, match=re.escape(text)):
        load_settings(request_timeout_ms=6, max_request_timeout_ms=5)


@pytest.mark.parametrize("device", ["auto", "cpu", "tensorrt"])
def test_settings_refuse_cuda_graphs_on_another_device(device: str) -> None:
    text = f"`cuda_graphs` needs `device` to be `cuda`; got `{device}`"

    with pytest.raises(SettingsError, match=re.escape(text)):
        load_settings(device=device, cuda_graphs=True)
    assert load_settings(device="cuda", cuda_graphs=True).cuda_graphs


def test_settings_refuse_an_unknown_variable_with_the_nearest_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("RFVAE_PROT", "8001")

    with pytest.raises(SettingsError, match=r"`RFVAE_PROT` is not a setting.*`RFVAE_PORT`"):
        load_settings()


def test_settings_all_say_what_they_are_for() -> None:
    undocumented = [name for name, field in Settings.model_fields.items() if not field.description]

    assert undocumented == []
