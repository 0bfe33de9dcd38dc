"""From a folder to a model that answers."""

from __future__ import annotations

import json
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from service.batching.policy import BatchPolicy
from service.errors import ArtifactError
from service.models import served
from service.models.artifact import load_manifest
from service.models.repository import FoundVersion, Verified, scan
from service.models.served import LoadOptions, ServedModel, latent_space, load_model, policy_for
from service.runtime.engine import Engine
from service.runtime.opening import EngineOptions
from tests.service.tiny_model import (
    TinyWeights,
    read_manifest,
    write_manifest,
    write_tiny_repository,
)

ON_CPU = LoadOptions(EngineOptions(device="cpu"))
ONE_LANE, TWO_LANES = (EngineOptions(device="cpu", lanes=lanes) for lanes in (1, 2))
POWERS = (1, 2, 4, 8, 16, 32)


@pytest.fixture
def found(tmp_path: Path) -> FoundVersion:
    (version,) = scan([write_tiny_repository(tmp_path)])
    return version


def _loaded(found: FoundVersion, **policy: Any) -> ServedModel:
    return load_model(found, LoadOptions(TWO_LANES, batching=BatchPolicy(**policy)))


async def test_loaded_model_encodes_and_decodes(found: FoundVersion) -> None:
    model = _loaded(found)
    weights = TinyWeights((1, 16, 16), 4, 0)
    images = np.random.default_rng(0).integers(0, 256, (5, 1, 16, 16), dtype=np.uint8)
    encoded = await model.batcher.submit("encode", images)
    assert encoded.outputs[0] == pytest.approx(weights.encode(images)[0], abs=1e-4)
    (decoded,) = (await model.batcher.submit("decode", encoded.outputs[0])).outputs
    assert decoded == pytest.approx(weights.decode(encoded.outputs[0]), abs=1e-5)
    assert await model.drain() == 0


async def test_loaded_model_says_what_it_is(found: FoundVersion) -> None:
    model = _loaded(found)
    assert (model.name, model.version, model.folder) == ("tiny", 1, found.folder)
    assert model.self_test.mu < 1e-5
    assert model.load_s > 0
    await model.drain()


def test_loading_says_where_and_how_wide_the_model_runs_and_why(
    found: FoundVersion, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO"):
        _loaded(found)
    (opened,) = [one for one in caplog.records if one.getMessage() == "model_opened"]
    fields = dict(vars(opened)["fields"])
    assert fields.pop("budget").startswith("affinity ")
    assert fields == {
        "model": "tiny",
        "version": 1,
        "provider": "CPUExecutionProvider",
        "lanes": 2,
        "threads": 1,
        "spinning": "off",
    }


def test_space_holds_the_manifests_dimensions(found: FoundVersion) -> None:
    space = latent_space(load_manifest(found.folder))
    assert space.relevant_dims.tolist() == [2, 0]
    assert space.names == ("scale", "z1", "x position", "z3")
    assert space.relevance.tolist() == pytest.approx([0.99, 0.02, 0.97, 0.02])
    assert space.mu_mean.tolist() == [0, 0.25, 0.5, 0.75]
    assert space.mu_quantiles.shape == (4, 7)
    assert space.low.tolist() == pytest.approx([-2.3, -2.05, -1.8, -1.55])
    assert space.elbo_quantiles[3] == -300


@pytest.mark.parametrize("field", [{"name": "other"}, {"version": 2}])
def test_a_folder_under_another_name_is_refused(found: FoundVersion, field: dict[str, Any]) -> None:
    write_manifest(found.folder, read_manifest(found.folder) | field)
    message = r"must lie in `(other/1|tiny/2)`, as its manifest says; move the folder back"
    with pytest.raises(ArtifactError, match=message):
        load_model(found, ON_CPU)


def test_a_tampered_file_is_refused(found: FoundVersion) -> None:
    path = found.folder / "encoder.onnx"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(ArtifactError, match="was changed after the export: SHA-256 must be"):
        load_model(found, ON_CPU)


def test_a_version_that_was_verified_is_not_hashed_again_but_once(
    found: FoundVersion, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashed: list[Path] = []
    monkeypatch.setattr(served, "verify_files", lambda folder, manifest: hashed.append(folder))
    options = replace(ON_CPU, verified=Verified([found]))
    load_model(found, options)
    assert hashed == []
    load_model(found, options)
    assert hashed == [found.folder]


def test_a_version_that_changed_since_it_was_verified_is_hashed(found: FoundVersion) -> None:
    path = found.folder / "encoder.onnx"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    (changed,) = scan([found.folder.parents[1]])
    with pytest.raises(ArtifactError, match="was changed after the export"):
        load_model(changed, replace(ON_CPU, verified=Verified([found])))


def test_a_model_that_computes_something_else_is_refused(found: FoundVersion) -> None:
    golden = dict(np.load(found.folder / "golden.npz"))
    np.savez(found.folder / "golden.npz", **(golden | {"mu": golden["mu"] + 1}))
    write_manifest(found.folder, read_manifest(found.folder))
    with pytest.raises(ArtifactError, match="self-test of model `tiny` version 1 on CPUExecution"):
        load_model(found, ON_CPU)


def test_a_manifest_of_a_later_format_is_refused(found: FoundVersion) -> None:
    manifest = read_manifest(found.folder) | {"format_version": 3, "news": []}
    (found.folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ArtifactError, match="has format 3; this service reads up to 2"):
        load_model(found, ON_CPU)


def test_policy_pads_on_a_gpu_and_not_on_a_cpu(found: FoundVersion) -> None:
    engine = Engine.load(
        found.folder, load_manifest(found.folder), EngineOptions(device="cpu", lanes=3)
    )
    options = replace(ON_CPU, batching=BatchPolicy(max_batch_rows=24, max_wait_ms=2))
    policy = policy_for(engine, options)
    assert (policy.lanes, policy.bucket_sizes, policy.inline_rows) == (3, (), 1)
    assert (policy.max_batch_rows, policy.max_wait_ms) == (24, 2)
    engine.providers = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    engine.batch_sizes = (1, 8, 24)
    policy = policy_for(engine, options)
    assert (policy.bucket_sizes, policy.inline_rows) == ((1, 8, 24), 0)


@pytest.mark.parametrize(
    ("most", "sizes"), [(1, (1,)), (2, (1, 2)), (24, (1, 2, 4, 8, 16, 24)), (64, (*POWERS, 64))]
)
def test_engine_is_asked_for_powers_of_two_up_to_the_largest_batch(
    found: FoundVersion, monkeypatch: pytest.MonkeyPatch, most: int, sizes: tuple[int, ...]
) -> None:
    asked: list[EngineOptions] = []
    load = Engine.load

    def note(folder: Path, manifest: Any, options: EngineOptions) -> Engine:
        asked.append(options)
        return load(folder, manifest, options)

    monkeypatch.setattr(Engine, "load", note)
    _loaded(found, max_batch_rows=most)
    assert [options.batch_sizes for options in asked] == [sizes]


@pytest.mark.parametrize(
    ("most", "sizes"), [(2, (1, 2)), (16, (1, 2, 4, 8, 16)), (64, (1, 2, 4, 8, 16))]
)
def test_images_on_a_cpu_are_warmed_up_in_the_sizes_that_the_graphs_see(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most: int, sizes: tuple[int, ...]
) -> None:
    (found,) = scan([write_tiny_repository(tmp_path, size=64)])
    warmed: list[tuple[int, ...]] = []
    warm_up = Engine.warm_up

    def note(self: Engine, batch_sizes: tuple[int, ...]) -> float:
        warmed.append(batch_sizes)
        return warm_up(self, batch_sizes)

    monkeypatch.setattr(Engine, "warm_up", note)
    _loaded(found, max_batch_rows=most)
    once_a_lane = [(sizes[-1],)] * 2
    assert warmed[:3] == [sizes, *once_a_lane]


@pytest.mark.parametrize(("row_s", "most"), [(0.001, 16), (0.0001, 24)])
async def test_so_many_rows_run_inline_as_both_graphs_do_in_time(
    found: FoundVersion, monkeypatch: pytest.MonkeyPatch, row_s: float, most: int
) -> None:
    ran_in: list[str] = []
    encode = Engine.encode

    def warm_up(self: Engine, batch_sizes: tuple[int, ...]) -> float:
        return row_s * sum(batch_sizes)

    def note(self: Engine, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        ran_in.append(threading.current_thread().name)
        return encode(self, images)

    monkeypatch.setattr(Engine, "warm_up", warm_up)
    monkeypatch.setattr(Engine, "encode", note)
    model = load_model(found, LoadOptions(ONE_LANE, inline_rows=24, inline_s=0.02))
    for rows in (most, most + 1):
        await model.batcher.submit("encode", np.zeros((rows, 1, 16, 16), np.uint8))
    await model.drain()
    assert [name.startswith("rfvae-lane") for name in ran_in[-2:]] == [False, True]


async def test_a_single_row_runs_inline_only_where_rows_are_quick(
    found: FoundVersion, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran_in: list[str] = []
    encode = Engine.encode

    def note(self: Engine, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        ran_in.append(threading.current_thread().name)
        return encode(self, images)

    monkeypatch.setattr(Engine, "encode", note)
    for most_s in (1e9, 0.0):
        model = load_model(found, LoadOptions(TWO_LANES, inline_s=most_s))
        await model.batcher.submit("encode", np.zeros((1, 1, 16, 16), np.uint8))
        await model.drain()
        assert ran_in[-1].startswith("rfvae-lane") == (most_s == 0.0)
