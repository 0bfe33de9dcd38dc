"""Two processes take the step that one would take, and only the first writes."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from rich.console import Console
from torch import Tensor

from training.checkpoint import read_checkpoint
from training.config import Config
from training.config_file import config_toml
from training.errors import ConfigError
from training.ranks import Ranks, launch
from training.runs import resume_run, start_run

MakeConfig = Callable[..., Config]
STRONG_TC = {"tc_weight": 300.0}
SCRIPT = """
import sys
from pathlib import Path
from rich.console import Console
from training.config_file import load_config
from training.runs import start_run
for name in sys.argv[1:]:
    path = Path(name)
    print(start_run(load_config(path), path.with_suffix(""), console=Console()), file=sys.stderr)
"""


def members(make_config: MakeConfig) -> dict[str, Config]:
    ones = {"mode": "fixed", "initial": 1}
    common = {"run": {"steps": 5, "batch_size": 8, "log_every": 5}}
    turning = {"learning_rate": 1e-3, "rotation_learning_rate": 1e-2}
    minibatch = STRONG_TC | {"tc_estimator": "minibatch"}
    capacity = {"kl_weight_min": 9, "kl_weight_max": 9, "capacity": 0.05, "tc_weight": 0}
    return {
        "rf-vae": make_config(objective=STRONG_TC, optimizer=turning, **common),
        "standardized": make_config(
            objective=STRONG_TC, discriminator={"standardize": True}, **common
        ),
        "beta-tcvae": make_config(objective=minibatch, relevance=ones, **common),
        "capacity": make_config(objective=capacity, relevance=ones, **common),
    }


def distribute(configs: dict[str, Config], folder: Path) -> subprocess.CompletedProcess[str]:
    """Train each in two processes."""
    script = folder / "train.py"
    script.write_text(SCRIPT)
    paths = []
    for name, config in configs.items():
        paths.append(folder / f"{name}.toml")
        paths[-1].write_text(config_toml(config))
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    return subprocess.run(
        [*torchrun, str(script), *map(str, paths)],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


def tensors(run_dir: Path) -> dict[str, Tensor]:
    return read_checkpoint(run_dir / "checkpoint.safetensors").tensors


def test_two_processes_train_what_one_trains_and_one_goes_on(
    tmp_path: Path, make_config: MakeConfig
) -> None:
    configs = members(make_config)
    done = distribute(configs, tmp_path)
    assert done.returncode == 0, done.stderr
    printed = done.stdout
    assert printed.count("Device: CPU, 1 thread") == len(configs)
    endings = [line for line in done.stderr.splitlines() if line in ("finished", "followed")]
    assert sorted(endings) == ["finished"] * len(configs) + ["followed"] * len(configs)
    assert printed.count("Processes: 2, each on an equal part of every batch") == len(configs)
    for name, config in configs.items():
        start_run(config, tmp_path / "alone" / name, console=Console(quiet=True))
        together, alone = tensors(tmp_path / name), tensors(tmp_path / "alone" / name)
        assert together.keys() == alone.keys()
        for key, tensor in alone.items():
            torch.testing.assert_close(together[key], tensor, rtol=2e-3, atol=2e-5, msg=key)
        lines = (tmp_path / name / "metrics.jsonl").read_text().splitlines()
        assert len(lines) == 1
    assert resume_run(tmp_path / "rf-vae", steps=6, console=Console(quiet=True)) == "finished"


@pytest.mark.slow
def test_two_processes_both_refuse_a_folder_that_is_not_empty(
    tmp_path: Path, make_config: MakeConfig
) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.txt").write_text("keep me")
    done = distribute({"run": make_config()}, tmp_path)
    assert done.returncode == 1
    assert "a run needs a new or empty folder" in done.stderr
    assert "the first process cannot use the run folder" in done.stderr
    assert "Connection closed" not in done.stderr


def test_launch_refuses_a_batch_that_cannot_be_divided(make_config: MakeConfig) -> None:
    config = make_config(run={"devices": 3, "batch_size": 4})
    with pytest.raises(ConfigError, match=r"got `run\.batch_size` = 4 for 3 processes"):
        launch(config, accelerator="cpu")


def test_one_process_shares_nothing(make_config: MakeConfig) -> None:
    ranks, device = launch(make_config(), accelerator="cpu")
    assert type(ranks) is Ranks
    assert device is None
    rows = torch.rand(3, 2)
    assert ranks.own(rows) is rows
    assert ranks.gather(rows) is rows


def test_bfloat16_trains_close_to_float32(tmp_path: Path, make_config: MakeConfig) -> None:
    names = ("float32", "bfloat16")
    for name in names:
        config = make_config(run={"steps": 4, "precision": name})
        start_run(config, tmp_path / name, console=Console(quiet=True))
    full, half = (tensors(tmp_path / name) for name in names)
    assert all(tensor.dtype == half[key].dtype for key, tensor in full.items())
    head = "vae.encoder.2.weight"
    assert not torch.equal(full[head], half[head])
    torch.testing.assert_close(full[head], half[head], rtol=0.1, atol=1e-2)
