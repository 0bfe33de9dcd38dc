"""A tiny run on a table whose columns have very different units, for tests of several parts."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from training.config_file import parse_config
from training.report import report_run
from training.runs import start_run

COLUMNS = ("height", "temperature", "pressure", "noise")


def make_table(n_rows: int = 400) -> NDArray[np.float64]:
    rng = np.random.default_rng(0)
    size, heat = rng.standard_normal((2, n_rows))
    noise = rng.standard_normal((4, n_rows))
    columns = (
        170 + 9 * size + noise[0],
        310 + 0.1 * heat + 0.02 * noise[1],
        101325 + 400 * heat + 50 * noise[2],
        noise[3],
    )
    return np.stack(columns, axis=1)


def write_table(path: Path) -> Path:
    np.savetxt(path, make_table(), delimiter=",", header=",".join(COLUMNS), comments="")
    return path


def vector_config(path: Path, **sections: dict[str, Any]) -> dict[str, Any]:
    """Settings of a run of seconds; every dimension counts as relevant at its start."""
    tables: dict[str, Any] = {
        "data": {"name": "vectors", "path": str(path), "standardize": True},
        "model": {"latent_dim": 3, "hidden_units": 16, "initialization": "kaiming"},
        "objective": {
            "likelihood": "gaussian",
            "likelihood_scale": 0.4,
            "kl_weight_min": 0.5,
            "kl_weight_max": 0.5,
            "tc_weight": 0.0,
        },
        "relevance": {"mode": "fixed", "initial": 1.0},
        "optimizer": {"learning_rate": 0.002},
        "discriminator": {"hidden_units": 8, "hidden_layers": 1},
        "run": {"steps": 300, "batch_size": 32, "threads": 1, "device": "cpu", "log_every": 50},
    }
    return {name: {**table, **sections.get(name, {})} for name, table in tables.items()}


def write_vector_run(folder: Path) -> Path:
    """Train and report; returns the run's folder."""
    folder.mkdir(parents=True, exist_ok=True)
    tables = vector_config(write_table(folder / "people.csv"))
    console = Console(quiet=True)
    start_run(parse_config(tables, origin="test"), folder / "run", console=console)
    report_run(folder / "run", console=console)
    return folder / "run"
