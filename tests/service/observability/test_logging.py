"""Log lines: JSON for machines, key=value for people, one stream."""

import asyncio
import io
import json
import logging
import select

from service.observability.logging import (
    LimitedError,
    RepeatedEvent,
    configure_logging,
    log_event,
)


class _CountingStream(io.StringIO):
    def __init__(self) -> None:
        super().__init__()
        self.writes: list[str] = []
        self.written = asyncio.Event()

    def write(self, text: str) -> int:
        self.writes.append(text)
        self.written.set()
        return super().write(text)


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


async def test_lines_of_one_moment_are_written_together() -> None:
    stream = _CountingStream()
    configure_logging("json", "info", stream)
    event = RepeatedEvent("request")

    event.log({"status": 200})
    event.log({"status": 404})
    assert stream.getvalue() == ""
    logging.getLogger("service").handlers[0].flush()

    assert [json.loads(line)["status"] for line in stream.getvalue().splitlines()] == [200, 404]
    assert len(stream.writes) == 1


async def test_many_lines_are_written_in_pieces_that_a_full_pipe_does_not_tear() -> None:
    stream = _CountingStream()
    configure_logging("json", "info", stream)
    ids = [f"é{number}" * 20 for number in range(100)] + ["x" * select.PIPE_BUF]

    for request_id in ids:
        log_event(logging.INFO, "request", request_id=request_id)
    logging.getLogger("service").handlers[0].flush()

    assert [json.loads(line)["request_id"] for line in stream.getvalue().splitlines()] == ids
    *pieces, longest = stream.writes
    assert 1 < len(pieces) < 20
    assert all(len(piece.encode()) <= select.PIPE_BUF for piece in pieces)
    assert all(piece.endswith("\n") for piece in [*pieces, longest])


async def test_lines_are_written_soon_without_being_asked_for() -> None:
    stream = _CountingStream()
    configure_logging("json", "info", stream)

    log_event(logging.INFO, "model_ready")
    await asyncio.wait_for(stream.written.wait(), 5)

    assert json.loads(stream.getvalue())["event"] == "model_ready"


async def test_a_warning_is_written_at_once_behind_what_waits() -> None:
    stream = io.StringIO()
    configure_logging("json", "info", stream)

    log_event(logging.INFO, "first")
    log_event(logging.WARNING, "second")

    assert [json.loads(line)["event"] for line in stream.getvalue().splitlines()] == [
        "first",
        "second",
    ]


def test_a_flood_of_one_error_is_logged_once_a_second() -> None:
    stream = io.StringIO()
    configure_logging("json", "info", stream)
    now_s = 5.0
    event = LimitedError("batch_failed", clock=lambda: now_s)

    for now_s in (5.0, 5.1, 5.9, 6.0, 6.5):
        event.log(MemoryError("no memory"), at=now_s)

    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [(line["event"], line["at"]) for line in lines] == [
        *(("batch_failed", 5.0), ("batch_failed", 6.0))
    ]
    assert "MemoryError: no memory" in lines[0]["trace"]


def test_a_repeated_event_below_the_level_is_left_out() -> None:
    stream = io.StringIO()
    configure_logging("json", "warning", stream)

    RepeatedEvent("request").log({"status": 200})

    assert stream.getvalue() == ""
