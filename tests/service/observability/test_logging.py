"""Log lines: JSON for machines, key=value for people, one stream."""

import io
import json
import logging
from collections.abc import Iterator

import pytest

from service.observability.logging import configure_logging, log_event


@pytest.fixture(autouse=True)
def _restore_loggers() -> Iterator[None]:
    names = ("service", "uvicorn.error")
    loggers = [logging.getLogger(name) for name in names]
    before = [(logger.handlers, logger.level, logger.propagate) for logger in loggers]
    yield
    for logger, (handlers, level, propagate) in zip(loggers, before, strict=True):
        logger.handlers, logger.propagate = handlers, propagate
        logger.setLevel(level)


def test_log_event_is_one_json_object_a_line() -> None:
    stream = io.StringIO()
    configure_logging("json", "info", stream)

    log_event(logging.INFO, "model_ready", model="tiny", rows=3, share=0.5)

    line = json.loads(stream.getvalue())
    assert line.pop("time").endswith("Z")
    assert line == {
        "level": "info",
        "event": "model_ready",
        "model": "tiny",
        "rows": 3,
        "share": 0.5,
    }


def test_log_event_is_readable_as_text() -> None:
    stream = io.StringIO()
    configure_logging("text", "info", stream)

    log_event(logging.WARNING, "model_refused", model="tiny", reason="hash differs")

    assert stream.getvalue()[12:] == (' warning model_refused model=tiny reason="hash differs"\n')


def test_log_event_below_the_level_is_left_out() -> None:
    stream = io.StringIO()
    configure_logging("json", "warning", stream)

    log_event(logging.INFO, "model_ready")

    assert stream.getvalue() == ""


def test_log_event_keeps_the_trace_of_an_error() -> None:
    stream = io.StringIO()
    configure_logging("json", "info", stream)

    try:
        raise ValueError("inside")
    except ValueError as error:
        log_event(logging.ERROR, "request_failed", error)

    assert "ValueError: inside" in json.loads(stream.getvalue())["trace"]


def test_log_format_auto_is_json_when_not_a_terminal() -> None:
    stream = io.StringIO()
    configure_logging("auto", "info", stream)

    log_event(logging.INFO, "ready")

    assert json.loads(stream.getvalue())["event"] == "ready"


def test_server_messages_use_the_same_stream_from_warnings_on() -> None:
    stream = io.StringIO()
    configure_logging("json", "info", stream)

    logging.getLogger("uvicorn.error").info("Started")
    logging.getLogger("uvicorn.error").warning("Invalid HTTP request received.")

    assert json.loads(stream.getvalue())["event"] == "Invalid HTTP request received."
