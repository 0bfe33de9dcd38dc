"""TensorRT's engine cache and profiles, which need no GPU to be named right."""

from __future__ import annotations

from pathlib import Path

from service.runtime.tensorrt import ProfileShapes, engine_cache_folder

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
