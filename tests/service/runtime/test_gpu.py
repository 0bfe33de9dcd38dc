"""On a real GPU: the provider is in use, the numbers are right, CUDA graphs give the same.

Skips itself where there is none. Needs the extra `gpu` in place of `cpu`, and for TensorRT also the
package `tensorrt`.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from service.models.artifact import Manifest, load_golden, load_manifest
from service.runtime.engine import TOLERANCE, Engine
from service.runtime.opening import EngineOptions
from service.runtime.sessions import CUDA, NVIDIA_CONTROL, TENSORRT
from service.runtime.tensorrt import loaded_tensorrt_version, prepare_tensorrt
from service.settings import BUNDLED

SIZES = (1, 2, 4, 8, 16, 32, 64)
MODEL = BUNDLED / "oval-dsprites" / "1"


def _is_there(provider: str) -> bool:
    return provider in onnxruntime.get_available_providers() and NVIDIA_CONTROL.exists()


def _has_tensorrt() -> bool:
    if not _is_there(TENSORRT):
        return False
    prepare_tensorrt()
    return loaded_tensorrt_version() != "unknown"


needs_cuda = pytest.mark.skipif(not _is_there(CUDA), reason="needs a GPU and onnxruntime-gpu")
needs_tensorrt = pytest.mark.skipif(not _has_tensorrt(), reason="needs a GPU and tensorrt")


@pytest.fixture(scope="module")
def manifest() -> Manifest:
    return load_manifest(MODEL)


def _load(manifest: Manifest, **options: Any) -> Engine:
    return Engine.load(MODEL, manifest, EngineOptions(**{"batch_sizes": SIZES, **options}))


def _images(seed: int, batch: int, manifest: Manifest) -> np.ndarray:
    shape = (batch, *manifest.sample.shape)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


@needs_cuda
def test_cuda_is_in_use_and_passes_the_golden_samples(manifest: Manifest) -> None:
    engine = _load(manifest, device="cuda")
    assert engine.providers[0] == CUDA
    result = engine.self_test(load_golden(MODEL))
    assert max(result.mu, result.logvar, result.image) <= TOLERANCE


@needs_cuda
def test_auto_takes_cuda(manifest: Manifest) -> None:
    assert _load(manifest, device="auto").providers[0] == CUDA


@needs_cuda
@pytest.mark.parametrize("batch", [1, 3, 32, 70])
@pytest.mark.parametrize("cuda_graphs", [False, True])
def test_cuda_agrees_with_the_cpu(manifest: Manifest, batch: int, cuda_graphs: bool) -> None:
    on_gpu = _load(manifest, device="cuda", cuda_graphs=cuda_graphs)
    on_cpu = _load(manifest, device="cpu")
    images = _images(batch, batch, manifest)
    mu, logvar = on_cpu.encode(images)
    for got, expected in zip(on_gpu.encode(images), (mu, logvar), strict=True):
        assert got == pytest.approx(expected, abs=TOLERANCE)
    assert on_gpu.decode(mu) == pytest.approx(on_cpu.decode(mu), abs=TOLERANCE)
    on_gpu.close()


@needs_cuda
@pytest.mark.parametrize("cuda_graphs", [False, True])
def test_threads_on_cuda_get_their_own_rows(manifest: Manifest, cuda_graphs: bool) -> None:
    engine = _load(manifest, device="cuda", cuda_graphs=cuda_graphs)
    batches = [_images(seed, SIZES[seed % len(SIZES)], manifest) for seed in range(60)]
    right = [engine.encode(images)[0] for images in batches]
    with ThreadPoolExecutor(4) as threads:
        for expected, (mu, _) in zip(right, threads.map(engine.encode, batches), strict=True):
            assert mu == pytest.approx(expected, abs=1e-5)
    engine.close()


@needs_cuda
def test_cuda_graphs_pass_their_check(manifest: Manifest) -> None:
    engine = _load(manifest, device="cuda", cuda_graphs=True)
    engine.self_test(load_golden(MODEL))
    engine.close()


@needs_tensorrt
def test_tensorrt_is_in_use_is_right_and_keeps_its_engines(
    manifest: Manifest, tmp_path: Path
) -> None:
    engine = _load(manifest, device="tensorrt", cache_folder=tmp_path)
    assert engine.providers[0] == TENSORRT
    engine.self_test(load_golden(MODEL))
    engine.warm_up(SIZES)
    engines = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.engine")}
    assert engines
    _load(manifest, device="tensorrt", cache_folder=tmp_path).warm_up(SIZES)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.engine")} == engines
