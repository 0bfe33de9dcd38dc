"""TensorRT's engine cache and profiles, which need no GPU to be named right."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path
from typing import Any

import pytest

from service.errors import DeviceUnavailable
from service.runtime import tensorrt
from service.runtime.tensorrt import (
    ProfileShapes,
    cache_options,
    default_cache_folder,
    engine_cache_folder,
    gpu_in_use,
    loaded_tensorrt_version,
    prepare_tensorrt,
)

SAME = {"ort_version": "1.32.0", "tensorrt_version": "10.9", "gpu": "H100"}


def test_cache_folder_depends_on_all_that_an_engine_depends_on(tmp_path: Path) -> None:
    changes = [
        {"ort_version": "1.33.0"},
        {"tensorrt_version": "10.10"},
        {"gpu": "L4"},
    ]
    folders = {engine_cache_folder(tmp_path, b"graph", **(SAME | change)) for change in changes}
    folders.add(engine_cache_folder(tmp_path, b"another graph", **SAME))
    first = engine_cache_folder(tmp_path, b"graph", **SAME)
    assert len(folders) == 4
    assert first not in folders
    assert first.parent == tmp_path


def test_cache_folder_is_the_same_for_a_file_and_its_bytes(tmp_path: Path) -> None:
    (tmp_path / "a.onnx").write_bytes(b"graph")
    from_file = engine_cache_folder(tmp_path, tmp_path / "a.onnx", **SAME)
    assert from_file == engine_cache_folder(tmp_path, b"graph", **SAME)


def test_cache_folder_can_be_named_without_tensorrt_and_gpu(tmp_path: Path) -> None:
    first, second = (engine_cache_folder(tmp_path, b"g", ort_version="1") for _ in range(2))
    assert first == second


def test_profile_covers_every_batch_size() -> None:
    assert ProfileShapes("image", (1, 64, 64), 32).provider_options() == {
        "trt_profile_min_shapes": "image:1x1x64x64",
        "trt_profile_opt_shapes": "image:32x1x64x64",
        "trt_profile_max_shapes": "image:32x1x64x64",
    }


def test_cache_options_keep_engines_and_timings_in_the_models_folder(tmp_path: Path) -> None:
    options = cache_options(tmp_path / "cache", b"graph", ort_version="1.32.0")
    folder = engine_cache_folder(tmp_path / "cache", b"graph", ort_version="1.32.0")
    assert folder.is_dir()
    assert options == {
        "trt_engine_cache_enable": "1",
        "trt_engine_cache_path": str(folder),
        "trt_timing_cache_enable": "1",
        "trt_timing_cache_path": str(folder),
    }


def test_a_cache_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    message = r"keeps its engines in `.*/file`, which cannot be written: .*; set RFVAE_CACHE_FOLDER"
    with pytest.raises(DeviceUnavailable, match=message):
        cache_options(tmp_path / "file", b"graph", ort_version="1")


def test_default_cache_is_the_users(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert default_cache_folder() == tmp_path / "xdg" / "rfvae"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert default_cache_folder() == tmp_path / ".cache" / "rfvae"


def test_tensorrts_version_is_that_of_the_library_which_loads() -> None:
    class Library:
        def getInferLibVersion(self) -> int:
            return 101302

    def load(name: str) -> Library:
        if name.endswith(".10"):
            raise OSError("no such file")
        return Library()

    assert loaded_tensorrt_version(load) == "101302"
    assert loaded_tensorrt_version(lambda name: ctypes.CDLL("libnone.so")) == "unknown"


@pytest.mark.parametrize(
    ("models", "named"),
    [
        ([], "unknown"),
        (["NVIDIA L4"], "NVIDIA L4"),
        (["NVIDIA L4", "NVIDIA L4"], "NVIDIA L4"),
        (["NVIDIA L4", "Tesla T4"], "NVIDIA L4, Tesla T4, 1"),
    ],
)
def test_gpu_is_named_by_its_model_and_of_several_by_which_is_visible(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, models: list[str], named: str
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    for number, model in enumerate(models):
        (tmp_path / f"0000:0{number}").mkdir()
        text = f"Model: \t\t {model}\nIRQ: 1\n"
        (tmp_path / f"0000:0{number}" / "information").write_text(text)
    assert gpu_in_use(tmp_path) == named


def test_tensorrt_loads_its_wheel_and_builds_without_tf32(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[Any, ...]] = []
    monkeypatch.setattr(tensorrt, "load_libraries", lambda *args: asked.append(args))
    monkeypatch.delenv("NVIDIA_TF32_OVERRIDE", raising=False)
    prepare_tensorrt()
    assert asked == [("tensorrt_libs", ".", ("libnvinfer", "libnvinfer_plugin", "libnvonnxparser"))]
    assert os.environ.pop("NVIDIA_TF32_OVERRIDE") == "0"
