"""Checkpoints: exact, atomic, safe to read, and clear when they are damaged."""

import json
import math
import os
import pickle
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file, save_file

from training.checkpoint import load_model, read_checkpoint, restore, save_checkpoint
from training.config import Config
from training.data import open_images
from training.errors import CheckpointError, RunError
from training.fit import Hooks, Record, fit, new_state
from training.run_folder import RunFolder
from training.runs import start_run
from training.state import TrainingState, state_tensors

CPU = torch.device("cpu")
MakeConfig = Callable[..., Config]


def trained(config: Config, *, until: int) -> TrainingState:
    images = open_images(config.data)
    state = new_state(config, images.image_shape, device=CPU)
    hooks = Hooks(should_stop=lambda: state.step == until)
    fit(state, images, config=config, hooks=hooks)
    return state


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory, make_config: MakeConfig) -> Path:
    """A finished run; tests must not change it."""
    path = tmp_path_factory.mktemp("runs") / "run"
    start_run(make_config(), path, console=Console(quiet=True))
    return path


@pytest.fixture
def checkpoint(run_dir: Path, tmp_path: Path) -> Path:
    """A copy of the finished run's checkpoint, to be damaged."""
    path = tmp_path / "checkpoint.safetensors"
    path.write_bytes((run_dir / path.name).read_bytes())
    return path


# All that a state can hold beside: turned axes, a learned prior, a gate that waits until step 26.
FULL: dict[str, dict[str, object]] = {
    "relevance": {"frozen_steps": 1, "wait_steps": 25, "wait_kl": 1e6, "learning_rate": 0.1},
    "optimizer": {"learning_rate": 1e-3, "rotation_learning_rate": 1e-2},
    "objective": {"tc_weight": [[0, 1], [30, 31]], "prior": "gated-gamma"},
    "run": {"steps": 30, "log_every": 20},
}


@pytest.mark.parametrize(
    ("changes", "stop"), [({}, 1), ({}, 4), ({}, 6), (FULL, 9), (FULL, 25), (FULL, 28)]
)
def test_restored_state_goes_on_to_the_same_bits_as_an_unbroken_run(
    tmp_path: Path, make_config: MakeConfig, changes: dict[str, dict[str, object]], stop: int
) -> None:
    config = make_config(**changes)
    path = tmp_path / "checkpoint.safetensors"
    save_checkpoint(path, trained(config, until=stop), config=config)
    loaded = read_checkpoint(path)
    images = open_images(config.data)
    state = new_state(loaded.config, loaded.image_shape, device=CPU)
    restore(state, loaded)
    assert state.step == stop
    fit(state, images, config=config, hooks=Hooks())
    unbroken = state_tensors(trained(config, until=config.run.steps))
    found = state_tensors(state)
    assert [name for name in unbroken if not torch.equal(unbroken[name], found[name])] == []


def test_log_line_after_a_resume_is_the_mean_of_all_its_steps(
    tmp_path: Path, make_config: MakeConfig
) -> None:
    config = make_config(run={"steps": 6, "log_every": 3})
    path = tmp_path / "checkpoint.safetensors"
    save_checkpoint(path, trained(config, until=5), config=config)
    images, losses = open_images(config.data), []
    for stop in (0, 5):
        state = new_state(config, (1, 32, 32), device=CPU)
        if stop:
            restore(state, read_checkpoint(path))
        records: list[Record] = []
        fit(state, images, config=config, hooks=Hooks(logged=records.append))
        losses.append(records[-1]["loss"])
    assert losses[0] == losses[1]


def test_checkpoint_holds_every_part_of_the_state(run_dir: Path) -> None:
    names = read_checkpoint(run_dir / "checkpoint.safetensors").tensors.keys()
    for prefix in (
        "vae.encoder.",
        "vae.decoder.",
        "relevance_logits",
        "discriminator.",
        "optimizer.vae.",
        "optimizer.relevance.",
        "optimizer.discriminator.",
        "history.mu",
        "generator.batches",
        "generator.noise",
        "generator.permutations",
    ):
        assert any(name.startswith(prefix) for name in names), prefix


def test_checkpoint_metadata_holds_config_and_step(run_dir: Path, make_config: MakeConfig) -> None:
    loaded = read_checkpoint(run_dir / "checkpoint.safetensors")
    assert loaded.config == make_config()
    assert (loaded.step, loaded.image_shape) == (8, (1, 32, 32))


def test_fixed_gate_survives_a_checkpoint_exactly(tmp_path: Path, make_config: MakeConfig) -> None:
    config = make_config(relevance={"mode": "fixed", "initial": [1, 0, 0, 1]}, run={"steps": 2})
    start_run(config, tmp_path / "run", console=Console(quiet=True))
    assert load_model(tmp_path / "run").relevance.tolist() == [1, 0, 0, 1]


def test_save_checkpoint_keeps_the_old_file_when_it_is_cut_short(
    checkpoint: Path, make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = checkpoint.read_bytes()

    def no_rename(*_: object) -> None:
        raise OSError("power cut")

    monkeypatch.setattr(os, "replace", no_rename)
    state = trained(make_config(), until=1)
    with pytest.raises(OSError, match="power cut"):
        save_checkpoint(checkpoint, state, config=make_config())
    assert checkpoint.read_bytes() == before


@pytest.mark.parametrize("keep", [0, 4, 100, 0.5, 0.999])
def test_truncated_checkpoint_gives_one_clear_line(checkpoint: Path, keep: float) -> None:
    content = checkpoint.read_bytes()
    length = keep if isinstance(keep, int) else int(len(content) * keep)
    checkpoint.write_bytes(content[:length])
    with pytest.raises(CheckpointError, match="is damaged and cannot be read") as caught:
        read_checkpoint(checkpoint)
    assert "\n" not in str(caught.value)


def test_checkpoint_whose_bytes_changed_is_refused(checkpoint: Path) -> None:
    content = bytearray(checkpoint.read_bytes())
    content[-100] ^= 1
    checkpoint.write_bytes(content)
    with pytest.raises(CheckpointError, match="its tensors are not those that were written"):
        read_checkpoint(checkpoint)


class Bomb:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return pytest.fail, ("the checkpoint was unpickled",)


def test_pickled_checkpoint_is_refused_and_not_run(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.safetensors"
    path.write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(CheckpointError, match="is damaged and cannot be read"):
        read_checkpoint(path)


def test_missing_checkpoint_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"checkpoint\.safetensors` is missing"):
        read_checkpoint(tmp_path / "checkpoint.safetensors")


def test_checkpoint_without_metadata_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.safetensors"
    save_file({"weight": torch.zeros(2)}, path)
    with pytest.raises(CheckpointError, match="is damaged and cannot be read"):
        read_checkpoint(path)


def test_checkpoint_of_a_later_format_asks_for_an_upgrade(checkpoint: Path) -> None:
    tensors = load_file(checkpoint)
    metadata = {"format_version": "2", "config": "{}", "step": "1", "image_shape": "[1, 32, 32]"}
    save_file(tensors, checkpoint, metadata=metadata)
    with pytest.raises(CheckpointError, match=r"has format 2 .* reads up to 1; upgrade"):
        read_checkpoint(checkpoint)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"model": {"latent_dim": 5}}, "has the shape"),
        ({"discriminator": {"hidden_layers": 3}}, "the checkpoint has no tensor"),
    ],
)
def test_restore_refuses_a_state_of_another_shape(
    run_dir: Path, make_config: MakeConfig, change: dict[str, dict[str, object]], text: str
) -> None:
    loaded = read_checkpoint(run_dir / "checkpoint.safetensors")
    state = new_state(make_config(**change), loaded.image_shape, device=CPU)
    with pytest.raises(CheckpointError, match=text):
        restore(state, loaded)


def test_load_model_gives_the_trained_networks_ready_to_use(
    run_dir: Path, make_config: MakeConfig
) -> None:
    loaded = load_model(run_dir)
    state = trained(make_config(), until=8)
    images = open_images(loaded.config.data).images(torch.arange(3))
    torch.testing.assert_close(loaded.vae.encode(images)[0], state.vae.encode(images)[0].detach())
    assert torch.equal(loaded.relevance, state.gate.relevance().detach())
    assert loaded.step == loaded.run_info["step"] == 8
    assert not loaded.vae.training
    assert not any(p.requires_grad for p in loaded.vae.parameters())


def test_load_model_gives_codes_in_the_unit_of_a_learned_prior(
    tmp_path: Path, make_config: MakeConfig
) -> None:
    config = make_config(objective={"prior": "variance"}, relevance={"mode": "fixed", "initial": 1})
    state = trained(config, until=3)
    torch.nn.init.constant_(state.prior.get_parameter("logvar"), math.log(4))
    folder = RunFolder(tmp_path)
    folder.write_info({"data": {}})
    save_checkpoint(folder.checkpoint, state, config=config)

    loaded = load_model(tmp_path)

    images = open_images(config.data).images(torch.arange(3))
    torch.testing.assert_close(loaded.vae.encode(images)[0], state.vae.encode(images)[0] / 2)


def test_load_model_says_that_a_folder_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"is not a run folder: `run.json` cannot be read"):
        load_model(tmp_path)


def test_run_folder_describes_its_run(run_dir: Path) -> None:
    info = json.loads((run_dir / "run.json").read_text())
    assert info["status"] == "finished"
    assert info["format_version"] == 1
    assert info["data"]["source"] == "procedural"
    assert info["data"]["factor_names"] == ["scale", "orientation", "x", "y"]
    assert info["data"]["sha256"] == open_images(load_model(run_dir).config.data).sha256()
    assert (info["device"], info["seed"], info["steps"]) == ("cpu", 1, 8)
    assert re.fullmatch(r".+, 1 thread", info["machine"])
    assert info["seconds"] > 0
    assert info["code_version"].startswith("0.")
