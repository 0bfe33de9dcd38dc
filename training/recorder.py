"""Puts what the loop says into the run folder and onto the display."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from training.board import Board
from training.checkpoint import save_checkpoint
from training.config import Config
from training.data import ImageSource
from training.diagnosis import Diagnosis
from training.errors import RunError, as_typed
from training.fit import Record, require_finite
from training.progress import Display
from training.run_folder import RunFolder
from training.state import TrainingState


@dataclass
class Recorder:
    """Log lines, checkpoints, warnings, and TensorBoard's files where they are asked for."""

    folder: RunFolder
    state: TrainingState
    config: Config
    display: Display
    info: dict[str, Any]
    images: ImageSource
    clock: Callable[[], float] = time.monotonic
    _started: float = field(init=False)
    _saved: float = field(init=False)
    _logged: tuple[float, int] = field(init=False)
    _seconds_before: float = field(init=False)
    _diagnosis: Diagnosis = field(init=False)
    _board: Board | None = field(init=False, default=None)
    _gate_open: bool = field(init=False, default=False)

    def __post_init__(self) -> None:
        self._started = self._saved = self.clock()
        self._logged = (self._started, self.state.step)
        self._seconds_before = self.info["seconds"]
        self._gate_open = self.state.clock.is_open(self.state.step)
        self._diagnosis = Diagnosis(self.config, first=self.state.step)
        if self.config.run.tensorboard:
            self._board = Board(self.folder.path / "tensorboard", first=self.state.step)

    def stepped(self, step: int) -> None:
        """After a step: display, and a checkpoint when its time has come."""
        self.display.stepped(step)
        if self.clock() - self._saved >= 60 * self.config.run.checkpoint_minutes:
            self._try(lambda: self.save(status="running"), "save a checkpoint")
            self._saved = self.clock()
            self._show()

    def logged(self, record: Record) -> None:
        """At a log step: a line for the file, the display, and each warning once."""
        moment, (before, former) = self.clock(), self._logged
        self._logged = (moment, record["step"])
        record["seconds"] = round(self._seconds(), 3)
        record["steps_per_s"] = round((record["step"] - former) / max(moment - before, 1e-9), 3)
        self._try(lambda: self.folder.append_metrics(record), "write a log line")
        self.display.logged(record)
        if self._board:
            self._board.add_record(record)
        if record["gate_open"] and not self._gate_open:
            self.display.say(f"The gate is open: step {record['step']:,}")
        self._gate_open = record["gate_open"]
        for warning in self._diagnosis.look(record):
            self.display.say(f"warning: {warning}")

    def save(self, *, status: str) -> None:
        """Write a checkpoint and say so in `run.json`; refuses weights that are not finite."""
        require_finite(self.state)
        save_checkpoint(self.folder.checkpoint, self.state, config=self.config)
        self.describe(status=status, step=self.state.step)
        self._saved = self.clock()

    def begin(self) -> None:
        """The first checkpoint, twice: each later one needs room beside the one before.

        Raises:
            RunError: It cannot be written; a new run leaves its folder free.
        """
        is_new = not self.folder.checkpoint.exists()
        try:
            self.save(status="running")
            self.save(status="running")
        except OSError as error:
            if is_new:
                for path in (self.folder.info, self.folder.checkpoint, self.folder.config):
                    path.unlink(missing_ok=True)
            raise RunError(
                f"cannot save a checkpoint in `{self.folder.path}`: {error.strerror or error}; "
                "make room, or choose another folder"
            ) from error

    def finish(self, *, status: str) -> None:
        """The last checkpoint.

        Raises:
            RunError: It cannot be written; the one before stays.
        """
        try:
            self.save(status=status)
        except OSError as error:
            raise RunError(
                f"cannot save the last checkpoint: {error.strerror or error}; the one of step "
                f"{self.info['step']:,} is whole: make room, then rfvae-train resume "
                f"{as_typed(self.folder.path)}"
            ) from error
        self._show()

    def fail(self) -> None:
        """Say so in `run.json`, beside the last checkpoint; without one there is no run."""
        if self.folder.checkpoint.exists():
            step = self.info["step"]
            self._try(lambda: self.describe(status="failed", step=step), "write `run.json`")

    def describe(self, *, status: str, step: int) -> None:
        """Write `run.json`; `step` is that of the checkpoint."""
        told = {"status": status, "step": step, "seconds": round(self._seconds(), 3)}
        self.folder.write_info(self.info | told)
        self.info |= told

    def close(self) -> None:
        """Nothing more will come."""
        if self._board:
            self._board.close()

    def _show(self) -> None:
        if self._board:
            board = self._board
            self._try(lambda: board.add_pictures(self.state, self.images), "write for TensorBoard")

    def _try(self, write: Callable[[], None], what: str) -> None:
        """A full disk stops no run: what is on it stays whole, and the next time may do."""
        try:
            write()
        except OSError as error:
            self.display.say(
                f"warning: cannot {what}: {error.strerror or error}; the checkpoint of step "
                f"{self.info['step']:,} is whole, and the run goes on: make room"
            )

    def _seconds(self) -> float:
        return self._seconds_before + self.clock() - self._started
