"""The files of a run, written so that a crash leaves the old or the new content, never half."""

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from training.errors import RunError, as_typed

FORMAT_VERSION = 1
INFO = "run.json"  # without it a folder is none of a run
COMPARISON = "compare.json"
COMPARISON_PICTURES = ("matches.png", "traversals.png")  # beside it
LOCK = ".lock"  # stays behind, and alone is no run


def write_atomically(path: Path, content: bytes) -> None:
    """Replace a file in one step: write beside it, sync, rename, sync the folder.

    Raises:
        OSError: The file is as it was before, and nothing is left beside it to fill the disk.
    """
    beside = path.with_name(f".{path.name}.tmp")
    try:
        with beside.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    except OSError:
        beside.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write indented JSON in one step; NaN is refused, since JSON has none."""
    text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False)
    write_atomically(path, text.encode() + b"\n")


def now() -> str:
    """The time as ISO 8601 in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


class RunFolder:
    """Names and small files of one run: `config.toml`, `run.json`, `metrics.jsonl`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config = path / "config.toml"
        self.info = path / INFO
        self.metrics = path / "metrics.jsonl"
        self.checkpoint = path / "checkpoint.safetensors"

    def create(self) -> None:
        """Make the folder.

        Raises:
            RunError: It cannot be made, or it has something in it.
        """
        self.require_free()
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RunError(f"cannot make the run folder `{self.path}`: {error.strerror}") from error

    def require_free(self) -> None:
        """Make nothing yet.

        Raises:
            RunError: There is something in the folder, or it is none.
        """
        try:
            occupied = self.path.exists() and any(item.name != LOCK for item in self.path.iterdir())
        except OSError as error:
            raise RunError(f"cannot make the run folder `{self.path}`: {error.strerror}") from error
        if occupied:
            raise RunError(
                f"a run needs a new or empty folder: `{self.path}` is not empty; choose another "
                f"--out, or go on with it: rfvae-train resume {as_typed(self.path)}"
            )

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Keep other processes from training in this folder; the system frees it after a kill.

        Raises:
            RunError: Another process holds it.
        """
        with (self.path / LOCK).open("a+") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                file.seek(0)
                raise RunError(
                    f"one process trains in a run folder: `{self.path}` is in use by process "
                    f"{file.read().strip() or 'unknown'}; wait for it, or stop it"
                ) from error
            except OSError:
                pass  # A file system without locks: better to train than not.
            file.truncate(0)
            file.write(f"{os.getpid()}\n")
            file.flush()
            yield

    def read_info(self) -> dict[str, Any]:
        """What `run.json` says.

        Raises:
            RunError: There is no such file, or it is not what `write_info` writes.
        """
        try:
            info: dict[str, Any] = json.loads(self.info.read_text(encoding="utf-8"))
            if not isinstance(info, dict) or not isinstance(info.get("data"), dict):
                raise ValueError("it does not describe a run and its data")
        except (OSError, ValueError) as error:
            raise RunError(
                f"`{self.path}` is not a run folder: `run.json` cannot be read ({error}); give the "
                "folder that `rfvae-train run --out` made"
            ) from error
        return info

    def write_info(self, info: dict[str, Any]) -> None:
        """Write `run.json`."""
        content = json.dumps(info | {"updated": now()}, indent=2, ensure_ascii=False)
        write_atomically(self.info, content.encode() + b"\n")

    def append_metrics(self, record: dict[str, Any]) -> None:
        """Add one line to `metrics.jsonl`, or none of it.

        Raises:
            OSError: The disk is full, or the file cannot be written.
        """
        size = self.metrics.stat().st_size if self.metrics.exists() else 0
        try:
            with self.metrics.open("a", encoding="utf-8") as file:
                file.write(json.dumps(record) + "\n")
        except OSError:
            if self.metrics.exists():
                os.truncate(self.metrics, size)
            raise

    def read_metrics(self) -> list[dict[str, Any]]:
        """The log; a line cut short by a crash, or that is no record, is left out."""
        if not self.metrics.exists():
            return []
        lines = self._whole_lines()
        return [record for line in lines if (record := _record_of(line)) is not None]

    def cut_metrics(self, *, after: int) -> None:
        """Drop lines of steps later than `after`, and a last line that a crash left incomplete."""
        if not self.metrics.exists():
            return
        kept = [line for line in self._whole_lines() if _step_of(line) <= after]
        write_atomically(self.metrics, "".join(kept).encode())

    def _whole_lines(self) -> list[str]:
        text = self.metrics.read_text(encoding="utf-8", errors="replace")
        return [line for line in text.splitlines(keepends=True) if line.endswith("\n")]


def _record_of(line: str) -> dict[str, Any] | None:
    try:
        record = json.loads(line)
    except ValueError:
        return None
    return record if isinstance(record, dict) and "kl_per_dim" in record else None


def _step_of(line: str) -> float:
    try:
        return float(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return float("inf")
