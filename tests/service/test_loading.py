"""What the settings say reaches the models."""

from pathlib import Path

import pytest

from service.loading import load_options
from service.settings import Settings


def test_load_options_follow_the_settings(tmp_path: Path) -> None:
    settings = Settings(device="cuda", cuda_graphs=True, cache_folder=tmp_path, lanes=3, threads=2)

    options = load_options(settings, inline_rows=0)

    assert (options.device, options.lanes, options.threads) == ("cuda", 3, 2)
    assert (options.cuda_graphs, options.cache_folder) == (True, tmp_path)
    assert options.inline_rows == 0


def test_load_options_keep_engines_in_the_users_cache_by_default(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))

    assert load_options(Settings()).cache_folder == tmp_path / "rfvae"
    assert list(tmp_path.iterdir()) == []
