"""What the settings say reaches the models."""

from pathlib import Path

import onnxruntime as ort
import pytest

from service.errors import ArtifactError, DeviceUnavailable
from service.loading import check_repositories, inline_options, load_options
from service.models.repository import scan
from service.runtime.threads import CpuBudget
from service.settings import Settings
from tests.service.tiny_model import write_tiny_model


def test_load_options_follow_the_settings(tmp_path: Path) -> None:
    settings = Settings(device="cuda", cuda_graphs=True, cache_folder=tmp_path, lanes=3, threads=2)

    options = load_options(settings, inline_rows=0)

    assert (options.engine.device, options.engine.lanes, options.engine.threads) == ("cuda", 3, 2)
    assert (options.engine.cuda_graphs, options.engine.cache_folder) == (True, tmp_path)
    assert options.inline_rows == 0


@pytest.mark.parametrize(
    ("cores", "processes", "whole_batches"),
    [(1, 0, True), (2, 2, True), (2, 4, True), (2, 0, False), (4, 2, False)],
)
def test_whole_batches_run_inline_where_a_process_has_one_core(
    cores: int, processes: int, whole_batches: bool
) -> None:
    settings = Settings(processes=processes, max_batch_rows=24)

    options = inline_options(settings, CpuBudget(cores, None))

    assert options.get("inline_rows") == (24 if whole_batches else None)


def test_load_options_keep_engines_in_the_users_cache_by_default(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))

    assert load_options(Settings()).engine.cache_folder == tmp_path / "rfvae"
    assert list(tmp_path.iterdir()) == []


def test_check_of_the_repositories_verifies_the_sound_versions(tmp_path: Path) -> None:
    for version in (1, 2):
        write_tiny_model(tmp_path / "tiny" / str(version), version=version)
    (tmp_path / "tiny/2/encoder.onnx").write_bytes(b"damaged")

    verified = check_repositories(Settings(model_repository=(tmp_path,)))

    assert [verified.take(found) for found in scan([tmp_path])] == [False, True]


def test_check_of_the_repositories_refuses_a_model_without_a_sound_version(tmp_path: Path) -> None:
    for name in ("sound", "unsound"):
        write_tiny_model(tmp_path / name / "1", name=name)
    (tmp_path / "unsound/1/encoder.onnx").write_bytes(b"damaged")

    with pytest.raises(ArtifactError, match=r"unsound/1/encoder.onnx` must have \d+ bytes"):
        check_repositories(Settings(model_repository=(tmp_path,)))


def test_check_of_the_repositories_refuses_a_device_that_the_build_lacks(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    write_tiny_model(tmp_path / "tiny" / "1")
    monkeypatch.setattr(ort, "get_available_providers", lambda: ["CPUExecutionProvider"])

    with pytest.raises(DeviceUnavailable, match="`device` is `cuda`, which needs CUDAExecution"):
        check_repositories(Settings(model_repository=(tmp_path,), device="cuda"))
