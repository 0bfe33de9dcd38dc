"""What log lines and checkpoints add to our training step, as a share of the time of a run.

Steps with and without a log line take turns in one process, so that both see the same machine; the
median of their differences is the cost of one line, which comes every `run.log_every` steps.
"""

import io
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from authors_step import OursTraining
from rich.console import Console

from training.config import Config
from training.fit import Hooks, fit
from training.progress import make_display
from training.recorder import Recorder
from training.run_folder import RunFolder

CHECKPOINTS = 3


def logging_cost(n_pairs: int) -> dict[str, float]:
    """Milliseconds of a log line and of a checkpoint, and their shares with default settings."""
    ours = OursTraining()
    with tempfile.TemporaryDirectory() as folder:
        recorder = _recorder(ours, Path(folder) / "run")
        for _ in range(3):
            ours.step()
        pairs = [(_time(ours.step), _time(_logged_step(ours, recorder))) for _ in range(n_pairs)]
        checkpoints = [_time(lambda: recorder.save(status="running")) for _ in range(CHECKPOINTS)]
    step = statistics.median(plain for plain, _ in pairs)
    line = statistics.median(logged - plain for plain, logged in pairs)
    checkpoint = statistics.median(checkpoints)
    run = ours.config.run
    return {
        "log_line_ms": 1000 * line,
        "log_share": line / (run.log_every * step),
        "checkpoint_ms": 1000 * checkpoint,
        "checkpoint_share": checkpoint / (60 * run.checkpoint_minutes),
    }


def _recorder(ours: OursTraining, path: Path) -> Recorder:
    folder = RunFolder(path)
    folder.create()
    display = make_display(Console(file=io.StringIO()), first=0, last=ours.config.run.steps)
    info = {"seconds": 0.0, "step": 0, "data": {}}
    return Recorder(folder, ours.state, ours.config, display, info, ours.images)


def _logged_step(ours: OursTraining, recorder: Recorder) -> Callable[[], None]:
    """One step of the loop that ends with a log line."""
    config = _up_to(ours.config, ours.state.step + 1)
    hooks = Hooks(logged=recorder.logged)
    return lambda: fit(ours.state, ours.images, config=config, hooks=hooks)


def _up_to(config: Config, step: int) -> Config:
    return config.model_copy(update={"run": config.run.model_copy(update={"steps": step})})


def _time(run: Callable[[], object]) -> float:
    started = time.perf_counter()
    run()
    return time.perf_counter() - started
