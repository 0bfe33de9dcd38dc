"""Structured log lines on standard error: `event key=value` for people, JSON for machines."""

import asyncio
import logging
import select
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from typing import Any, Final, Literal, TextIO

import orjson

from service.events import LOGGER, log_event

LogFormat = Literal["auto", "json", "text"]
# Lines of a busy service are written together: one write each would cost more than its text.
WRITE_EVERY_S: Final = 0.05
ERROR_EVERY_S: Final = 1.0


class LimitedError:
    """An error that may come with every batch: logged once a second at most, with its trace."""

    def __init__(self, event: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._event = event
        self._clock = clock
        self._silent_until_s = float("-inf")

    def log(self, error: BaseException, **fields: object) -> None:
        """Logs the error unless one was logged within the last second."""
        now_s = self._clock()
        if now_s >= self._silent_until_s:
            self._silent_until_s = now_s + ERROR_EVERY_S
            log_event(logging.ERROR, self._event, error, **fields)


class RepeatedEvent:
    """An event that is logged once a request; a fifth of the cost of `log_event`, at level info."""

    def __init__(self, event: str) -> None:
        self._logger = logging.getLogger(LOGGER)
        self._common = vars(logging.LogRecord(LOGGER, logging.INFO, "", 0, event, (), None))

    def log(self, fields: dict[str, object]) -> None:
        """Logs the event with these fields."""
        if self._logger.isEnabledFor(logging.INFO):
            entry = logging.LogRecord.__new__(logging.LogRecord)
            now = time.time()
            vars(entry).update(self._common, created=now, msecs=now % 1 * 1e3, fields=fields)
            self._logger.handle(entry)


def configure_logging(log_format: LogFormat, level: str, stream: TextIO | None = None) -> None:
    """Sends the service's events, and the server's own messages, to one stream in one form."""
    stream = stream or sys.stderr
    handler = _BundlingHandler(stream)
    handler.setFormatter(_TextFormatter() if _is_text(log_format, stream) else _JsonFormatter())
    for name in (LOGGER, "asyncio", "uvicorn.error", "opentelemetry"):
        logger = logging.getLogger(name)
        logger.handlers = [handler]
        logger.propagate = False
        logger.setLevel(level.upper() if name == LOGGER else logging.WARNING)


def _is_text(log_format: LogFormat, stream: TextIO) -> bool:
    return stream.isatty() if log_format == "auto" else log_format == "text"


class _BundlingHandler(logging.StreamHandler[TextIO]):
    """Writes the lines of one moment of the event loop together; at once anywhere else.

    A warning, or what is worse, is written at once too, behind what waits.
    """

    def __init__(self, stream: TextIO) -> None:
        super().__init__(stream)
        self._lines: list[str] = []
        self._waits_on: asyncio.AbstractEventLoop | None = None

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._lines.append(self.format(record))
            loop = _running_loop()
            if loop is None or record.levelno >= logging.WARNING:
                self.flush()
            elif loop is not self._waits_on:
                self._waits_on = loop
                loop.call_later(WRITE_EVERY_S, self._write_bundle)
        except Exception:  # as every handler: a full disk must not fail the request
            self.handleError(record)

    def flush(self) -> None:
        """Writes what waits; also called by `logging` when the process ends."""
        with self.lock:  # type: ignore[union-attr]
            lines, self._lines = self._lines, []
            for piece in _pieces(lines):
                self.stream.write(piece)
                super().flush()

    def _write_bundle(self) -> None:
        self._waits_on = None
        self.flush()


def _pieces(lines: Iterable[str]) -> Iterator[str]:
    """The lines in pieces that a full pipe takes whole: several processes write to the same one."""
    piece, n_bytes = "", 0
    for line in lines:
        size_bytes = len(line.encode()) + 1
        if piece and n_bytes + size_bytes > select.PIPE_BUF:
            yield piece
            piece, n_bytes = "", 0
        piece, n_bytes = f"{piece}{line}\n", n_bytes + size_bytes
    if piece:
        yield piece


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def _timestamp(created: float) -> str:
    return f"{_date_and_second(int(created))}.{int(created % 1 * 1e3):03d}Z"


@lru_cache(maxsize=2)
def _date_and_second(second: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))


def _fields(entry: logging.LogRecord) -> dict[str, Any]:
    fields: dict[str, Any] = dict(getattr(entry, "fields", {}))
    if entry.exc_info and entry.exc_info[0]:
        fields["trace"] = logging.Formatter().formatException(entry.exc_info)
    return fields


class _JsonFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": _timestamp(record.created),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
            **_fields(record),
        }
        return orjson.dumps(line, default=str).decode()


class _TextFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        pairs = "".join(f" {key}={_word(value)}" for key, value in _fields(record).items())
        clock = _timestamp(record.created)[11:-1]
        return f"{clock} {record.levelname.lower():<7} {record.getMessage()}{pairs}"


def _word(value: object) -> str:
    text = f"{value:.6g}" if isinstance(value, float) else str(value)
    return f'"{text}"' if " " in text and "\n" not in text else text
