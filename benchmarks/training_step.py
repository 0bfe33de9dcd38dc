"""Our training step against the authors' algorithm written out plainly, in one run.

    .venv/bin/python benchmarks/training_step.py [--seconds 20] [--rounds 3] [--threads 0]

Both train the same networks (64 x 64 pixels, 10 dimensions, discriminator 5 x 1000) with the same
batches of 64, the second batch included. First both start from the same weights and see the same
batches, noise and permutations for 20 steps: their losses must agree. Then each is timed in
processes of its own, in turns, so that neither has the other's memory settings. Ours is also timed
with all products in float32: on processors with AMX those of the discriminator take bfloat16. Last
comes what log lines and checkpoints add to ours (`logging_cost.py`).
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

ARMS = ("authors", "ours", "ours_float32")
LOGGING, LOGGED_STEPS = "logging", 40
BATCH, PARITY_STEPS, TOLERANCE = 64, 20, 1e-4


def main() -> None:
    """Measure and print."""
    options = _parse()
    if options.arm == LOGGING:
        print(json.dumps(time_logging(threads=options.threads)))
        return
    if options.arm:
        print(json.dumps(time_arm(options.arm, seconds=options.seconds, threads=options.threads)))
        return
    differences = {
        precision: max_loss_difference(PARITY_STEPS, precision=precision)
        for precision in ("auto", "float32")
    }
    for precision, difference in differences.items():
        print(f"{precision}: losses differ by at most {difference:.1e} in {PARITY_STEPS} steps")
        if difference > TOLERANCE:
            sys.exit(f"the losses must agree to {TOLERANCE}: got {difference:.1e}")
    rounds = [{arm: run_arm(arm, options) for arm in ARMS} for _ in range(options.rounds)]
    report(rounds, differences=differences, logging=run_arm(LOGGING, options))


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=20, help="of one timing (default 20)")
    parser.add_argument("--rounds", type=int, default=3, help="timings of each (default 3)")
    parser.add_argument("--threads", type=int, default=0, help="0: all cores (default)")
    parser.add_argument("--arm", choices=(*ARMS, LOGGING), help=argparse.SUPPRESS)
    return parser.parse_args()


def run_arm(arm: str, options: argparse.Namespace) -> dict[str, float]:
    """Time one arm in a fresh process."""
    command = [sys.executable, __file__, "--arm", arm]
    command += ["--seconds", str(options.seconds), "--threads", str(options.threads)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    result: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return result


def time_arm(arm: str, *, seconds: float, threads: int) -> dict[str, float]:
    """Images per second of this process, wall and processor time; its peak memory."""
    if arm != "authors":
        _settle_memory()
    import torch

    if threads:
        torch.set_num_threads(threads)
    step = start(arm)
    for _ in range(5):
        step()
    wall, processor, n_steps = time.perf_counter(), time.process_time(), 0
    while time.perf_counter() - wall < seconds:
        step()
        n_steps += 1
    images = n_steps * BATCH
    return {
        "images_s": images / (time.perf_counter() - wall),
        "images_cpu_s": images / (time.process_time() - processor),
        "peak_mib": peak_mib(),
        "threads": torch.get_num_threads(),
    }


def peak_mib() -> float:
    """Largest resident memory of this process; `getrusage` would count its parent's before exec."""
    lines = Path("/proc/self/status").read_text().splitlines()
    (peak,) = (line.split()[1] for line in lines if line.startswith("VmHWM:"))
    return int(peak) / 1024


def _settle_memory() -> None:
    """As `rfvae-train` does."""
    from training.cpu import keep_freed_memory, wait_politely

    wait_politely()
    keep_freed_memory()


def time_logging(*, threads: int) -> dict[str, float]:
    """What log lines and checkpoints add to our step."""
    _settle_memory()
    import torch
    from logging_cost import logging_cost

    if threads:
        torch.set_num_threads(threads)
    return logging_cost(LOGGED_STEPS)


def start(arm: str) -> Callable[[], tuple[float, float] | None]:
    """A function that takes one step of `arm`."""
    from authors_step import AuthorsTraining, OursTraining

    if arm == "authors":
        return AuthorsTraining().step
    return OursTraining("float32" if arm == "ours_float32" else "auto").step


def max_loss_difference(n_steps: int, *, precision: str) -> float:
    """Largest relative difference of the VAE's and the discriminator's losses."""
    from authors_step import AuthorsTraining, OursTraining

    ours, authors = OursTraining(precision), AuthorsTraining()
    authors.copy_from(ours)
    differences = []
    for _ in range(n_steps):
        for expected, found in zip(authors.losses(), ours.losses(), strict=True):
            differences.append(abs(expected - found) / abs(expected))
    return max(differences)


def report(
    rounds: list[dict[str, dict[str, float]]],
    *,
    differences: dict[str, float],
    logging: dict[str, float],
) -> None:
    """A table for people, one JSON object for programs."""
    print(f"{'':14}{'images/s':>10}{'per CPU s':>11}{'peak MiB':>10}")
    middle = {}
    for arm in ARMS:
        middle[arm] = {
            key: statistics.median(one[arm][key] for one in rounds) for key in rounds[0][arm]
        }
        row = middle[arm]
        print(f"{arm:14}{row['images_s']:10.1f}{row['images_cpu_s']:11.1f}{row['peak_mib']:10.0f}")
    print(
        f"a log line takes {logging['log_line_ms']:.1f} ms, {logging['log_share']:.2%} of the time "
        f"of a run; a checkpoint {logging['checkpoint_ms']:.0f} ms, "
        f"{logging['checkpoint_share']:.2%}"
    )
    ours, authors = middle["ours"], middle["authors"]
    figures = {
        "ratio": round(ours["images_s"] / authors["images_s"], 3),
        "float32_ratio": round(middle["ours_float32"]["images_s"] / authors["images_s"], 3),
        "ours_images_s": round(ours["images_s"], 1),
        "authors_images_s": round(authors["images_s"], 1),
        "cpu_time_ratio": round(ours["images_cpu_s"] / authors["images_cpu_s"], 3),
        "max_loss_difference": differences["auto"],
        "float32_max_loss_difference": differences["float32"],
        "ours_peak_mib": round(ours["peak_mib"]),
        "authors_peak_mib": round(authors["peak_mib"]),
        "threads": int(ours["threads"]),
        "rounds": len(rounds),
        "log_share": round(logging["log_share"], 5),
        "checkpoint_share": round(logging["checkpoint_share"], 5),
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
