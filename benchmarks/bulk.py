"""What `rfvae-serve encode` costs beside inference: whole tables against bare ONNX Runtime.

Bare: both graphs (novelty needs the decoder too) on batches of 64 that lie in memory, one
single-threaded run a core, which is more than twice as fast as one run on all cores. Bulk: open the
input, read, decode the files, run, place among the training images, write the parts, join them.
All arms take the same images in every round, in an order that rotates, so that a change of the
clock or a neighbor meets them alike; ratios are medians over rounds, wall and processor time apart.

Command: .venv/bin/python benchmarks/bulk.py
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pyarrow as pa
import pyarrow.parquet as pq
from served import as_png, machine

from service.bulk.command import BulkOptions, open_encoder, open_input
from service.bulk.encoder import BulkEncoder
from service.bulk.job import finish, held, plan, run_parts
from service.codecs.images import to_pixels
from service.runtime.threads import cpu_budget
from service.settings import Settings

BARE, FORMS = "bare", ("npy", "parquet", "folder")
Arm = Callable[[], None]
Seconds = tuple[float, float]  # wall, processor


class Silent:
    """No progress is shown."""

    def start(self, total: int, done: int) -> None:
        """Nothing."""

    def advance(self, images: int) -> None:
        """Nothing."""


def main() -> None:
    """Measure and print."""
    arguments = parse_arguments()
    settings = Settings()
    with tempfile.TemporaryDirectory() as name:
        encoder = open_encoder(BulkOptions(Path(), Path(), model=arguments.model), settings)
        images = draw_images(encoder, arguments.images)
        inputs = write_inputs(images, Path(name))
        arms = {form: bulk_arm(encoder, settings, inputs[form]) for form in FORMS}
        arms[BARE] = bare_arm(encoder, images)
        times = measure(arms, rounds=arguments.rounds)
        encoder.close()
    print(f"`{arguments.model}` on {machine()}")
    report(times, arguments.images)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="oval-dsprites", help="of gray images")
    parser.add_argument("--images", type=int, default=2048, help="images a round")
    parser.add_argument("--rounds", type=int, default=15)
    return parser.parse_args()


def draw_images(encoder: BulkEncoder, count: int) -> Any:
    """What the model itself decodes from latents inside the training range: uint8 (n, c, h, w)."""
    space = encoder.model.space
    rng = np.random.default_rng(0)
    z = rng.uniform(space.low, space.high, (count, space.latent_dim)).astype(np.float32)
    decode, rows = encoder.model.engine.decode, encoder.batch_rows
    starts = range(0, count, rows)
    return np.concatenate([to_pixels(decode(z[i : i + rows])) for i in starts])


def write_inputs(images: Any, folder: Path) -> dict[str, Path]:
    """The same gray images in the three forms."""
    files = [as_png(image[0]) for image in images]
    (folder / "folder").mkdir()
    for number, file in enumerate(files):
        (folder / "folder" / f"{number:06}.png").write_bytes(file)
    np.save(folder / "images.npy", images[:, 0])
    pq.write_table(pa.table({"image": files}), folder / "images.parquet")
    return {
        "npy": folder / "images.npy",
        "parquet": folder / "images.parquet",
        "folder": folder / "folder",
    }


def bare_arm(encoder: BulkEncoder, images: Any) -> Arm:
    """Nothing but `session.run` of both graphs."""
    folder = encoder.model.folder
    rows = encoder.batch_rows
    batches = [images[i : i + rows] for i in range(0, len(images), rows)]
    first, second = (open_bare(folder / name) for name in ("encoder.onnx", "decoder.onnx"))

    def both(batch: Any) -> None:
        (mu,) = first.run(["mu"], {"image": batch})
        second.run(["image"], {"z": mu})

    def run() -> None:
        with ThreadPoolExecutor(cpu_budget().cores) as pool:
            list(pool.map(both, batches))

    return run


def open_bare(path: Path) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def bulk_arm(encoder: BulkEncoder, settings: Settings, source: Path) -> Arm:
    """All that the command does once the model is open."""
    out = source.parent / f"{source.stem}.table.parquet"
    options = BulkOptions(source, out, overwrite=True)

    def run() -> None:
        with held(out):
            images = open_input(options, settings, encoder)
            job = plan(out, images, encoder, overwrite=True)
            run_parts(job, job.missing(), source=images, encoder=encoder, progress=Silent())
            finish(job, encoder.columns)

    return run


def measure(arms: dict[str, Arm], *, rounds: int) -> dict[str, list[Seconds]]:
    """Seconds of each arm in each round; the arm that begins changes."""
    times: dict[str, list[Seconds]] = {name: [] for name in arms}
    names = list(arms)
    for arm in arms.values():
        arm()
    for number in range(rounds):
        first = number % len(names)
        for name in (*names[first:], *names[:first]):
            times[name].append(time_of(arms[name]))
    return times


def time_of(arm: Arm) -> Seconds:
    wall, processor = time.perf_counter(), time.process_time()
    arm()
    return time.perf_counter() - wall, time.process_time() - processor


def report(times: dict[str, list[Seconds]], count: int) -> None:
    """A table, then one line of JSON."""
    bare = times[BARE]
    print(f"{count} images a round, {len(bare)} rounds\n")
    print(f"{'arm':8} {'images/s':>9} {'ratio':>6} {'CPU ms/image':>13} {'CPU ratio':>10}")
    figures: dict[str, float] = {"bare_images_s": round(count / typical(bare))}
    for name, seconds in times.items():
        processor_ms = statistics.median(pair[1] for pair in seconds) / count * 1e3
        pairs = list(zip(bare, seconds, strict=True))
        wall_ratio, processor_ratio = (
            statistics.median(base[kind] / own[kind] for base, own in pairs) for kind in (0, 1)
        )
        print(
            f"{name:8} {count / typical(seconds):9.0f} {wall_ratio:6.3f} {processor_ms:13.3f} "
            f"{processor_ratio:10.3f}"
        )
        if name in FORMS:
            figures[f"{name}_images_s"] = round(count / typical(seconds))
            figures[f"{name}_ratio"] = round(wall_ratio, 3)
            figures[f"{name}_cpu_ratio"] = round(processor_ratio, 3)
    print()
    print(json.dumps(figures))


def typical(seconds: list[Seconds]) -> float:
    """The median of the wall times."""
    return statistics.median(wall for wall, _ in seconds)


if __name__ == "__main__":
    main()
