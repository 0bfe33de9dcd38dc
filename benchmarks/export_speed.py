"""What the exporter's rewriting brings: torch's own ONNX export against ours, in one run.

Same weights (untrained; speed does not depend on them), same session options as the service, one
thread. Rounds of both alternate, so that a change of the clock meets both alike; the ratio
is the median over rounds of plain time / our time. Prints a table, then one line of JSON.

Command: .venv/bin/python benchmarks/export_speed.py
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from onnx_export.graphs import serialize, tidy
from onnx_export.network_graphs import arrange, trace_graphs
from service.runtime.sessions import open_session
from training.networks import VAE

BATCHES = (1, 11, 64)
ROUND_S = 0.04
Run = Callable[[], list[Any]]


def main() -> None:
    """Measure and print."""
    arguments = parse_arguments()
    torch.manual_seed(0)
    shape = (arguments.channels, arguments.size, arguments.size)
    vae = VAE(shape, latent_dim=10, hidden_units=128).eval()
    figures: dict[str, float] = {"max_abs_error": 0.0}
    print(f"{shape} images, 10 latents, 1 thread, {arguments.rounds} rounds of {ROUND_S} s each\n")
    print(f"{'graph':8} {'batch':>5} {'plain images/s':>15} {'ours images/s':>14} {'ratio':>6}")
    for name, (plain, ours) in open_pairs(vae).items():
        for batch in BATCHES:
            inputs = make_inputs(name, batch, vae)
            times = measure(plain, ours, inputs, rounds=arguments.rounds)
            rates = [batch / statistics.median(column) for column in zip(*times, strict=True)]
            ratio = statistics.median(before / after for before, after in times)
            print(f"{name:8} {batch:5} {rates[0]:15.0f} {rates[1]:14.0f} {ratio:6.3f}")
            figures[f"{name}_ratio_{batch}"] = round(ratio, 3)
            error = largest_error(plain, ours, inputs)
            figures["max_abs_error"] = max(figures["max_abs_error"], error)
    print()
    print(json.dumps(figures))


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--channels", type=int, default=1)
    parser.add_argument("--size", type=int, default=64, help="side of the images in pixels")
    parser.add_argument("--rounds", type=int, default=40, help="rounds for each batch size")
    return parser.parse_args()


def open_pairs(vae: VAE) -> dict[str, tuple[Any, Any]]:
    """For each graph the session of torch's plain export and the session of ours."""
    plain = trace_graphs(vae)
    ours = arrange(plain, "cpu")
    return {
        name: (
            open_session(serialize(graph), threads=1),
            open_session(serialize(tidy(ours[name], {})), threads=1),
        )
        for name, graph in plain.items()
    }


def make_inputs(name: str, batch: int, vae: VAE) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    if name == "encoder":
        return {"image": rng.integers(0, 256, (batch, *vae.image_shape), dtype=np.uint8)}
    return {"z": rng.standard_normal((batch, vae.latent_dim), dtype=np.float32)}


def measure(
    plain: Any, ours: Any, inputs: dict[str, Any], *, rounds: int
) -> list[tuple[float, float]]:
    """Seconds a run of both, one pair a round; who goes first alternates."""
    runs: list[Run] = [lambda: plain.run(None, inputs), lambda: ours.run(None, inputs)]
    repeats = max(1, round(ROUND_S / min(time_of(run, 3) for run in runs)))
    pairs = []
    for index in range(rounds):
        order = (0, 1) if index % 2 == 0 else (1, 0)
        taken = {position: time_of(runs[position], repeats) for position in order}
        pairs.append((taken[0], taken[1]))
    return pairs


def time_of(run: Run, repeats: int) -> float:
    started = time.perf_counter()
    for _ in range(repeats):
        run()
    return (time.perf_counter() - started) / repeats


def largest_error(plain: Any, ours: Any, inputs: dict[str, Any]) -> float:
    pairs = zip(plain.run(None, inputs), ours.run(None, inputs), strict=True)
    return max(float(np.abs(before - after).max()) for before, after in pairs)


if __name__ == "__main__":
    main()
