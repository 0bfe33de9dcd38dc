"""Structured log lines on standard error: `event key=value` for people, JSON for machines."""

import logging
import sys
import time
from typing import Any, Literal, TextIO

import orjson

LOGGER = "service"
LogFormat = Literal["auto", "json", "text"]


def log_event(level: int, event: str, error: BaseException | None = None, **fields: object) -> None:
    """Logs one event; fields are ids, counts and durations, never the content of an image."""
    logging.getLogger(LOGGER).log(level, event, exc_info=error, extra={"fields": fields})


def configure_logging(log_format: LogFormat, level: str, stream: TextIO | None = None) -> None:
    """Sends the service's events, and the server's own messages, to one stream in one form."""
    stream = stream or sys.stderr
    handler = logging.StreamHandler(stream)
    handler.setFormatter(_TextFormatter() if _is_text(log_format, stream) else _JsonFormatter())
    for name in (LOGGER, "uvicorn.error"):
        logger = logging.getLogger(name)
        logger.handlers = [handler]
        logger.propagate = False
        logger.setLevel(level.upper() if name == LOGGER else logging.WARNING)


def _is_text(log_format: LogFormat, stream: TextIO) -> bool:
    return stream.isatty() if log_format == "auto" else log_format == "text"


def _timestamp(created: float) -> str:
    seconds = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(created))
    return f"{seconds}.{int(created % 1 * 1e3):03d}Z"


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
