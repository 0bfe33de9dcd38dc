"""Answers over a real socket: whole ones in one piece, all others as uvicorn sends them."""

from typing import Any

import pytest

from service.transport.exchange import LONGEST_KEPT_URL, WHOLE_MOST_BYTES, date_headers, target_of
from tests.service.live import run, serve_app

GET = b"GET / HTTP/1.1\r\nHost: test\r\n\r\n"
LAST_GET = b"GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n"


class Answering:
    """Sends what it was made with: status, headers, pieces of the body."""

    def __init__(self, status: int, headers: list[tuple[bytes, bytes]], *pieces: bytes) -> None:
        self._start = {"type": "http.response.start", "status": status, "headers": headers}
        self._pieces = pieces
        self.paths: list[tuple[str, bytes, bytes]] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.paths.append((scope["path"], scope["raw_path"], scope["query_string"]))
        await send(self._start)
        for number, piece in enumerate(self._pieces, 1):
            more = number < len(self._pieces)
            await send({"type": "http.response.body", "body": piece, "more_body": more})


def _answer_to(request: bytes, app: Any) -> bytes:
    async def test() -> bytes:
        async with serve_app(app) as live:
            client = await live.connect()
            await client.send(request)
            return await client.read_all()

    answers: list[bytes] = []

    async def keep() -> None:
        answers.append(await test())

    run(keep)
    return answers[0]


def _length(n_bytes: int) -> tuple[bytes, bytes]:
    return (b"content-length", b"%d" % n_bytes)


def test_exchange_sends_head_and_body() -> None:
    app = Answering(200, [_length(2), (b"x-some", b"thing")], b"ok")

    answer = _answer_to(LAST_GET, app)

    assert answer.startswith(b"HTTP/1.1 200 OK\r\ndate: ")
    assert answer.endswith(b"content-length: 2\r\nx-some: thing\r\nconnection: close\r\n\r\nok")


def test_exchange_dates_each_answer_by_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    dates = []
    for second in (0.9, 1.2, 86_400.0):
        monkeypatch.setattr("service.transport.exchange.time.time", lambda now=second: now)
        dates += date_headers()

    assert dates == [
        (b"date", b"Thu, 01 Jan 1970 00:00:00 GMT"),
        (b"date", b"Thu, 01 Jan 1970 00:00:01 GMT"),
        (b"date", b"Fri, 02 Jan 1970 00:00:00 GMT"),
    ]


def test_exchange_keeps_the_connection_for_the_next_request() -> None:
    answer = _answer_to(GET + LAST_GET, Answering(200, [_length(2)], b"ok"))

    assert answer.count(b"HTTP/1.1 200 OK") == 2
    assert answer.count(b"connection: close") == 1


def test_exchange_ends_the_connection_when_the_application_says_so() -> None:
    answer = _answer_to(GET, Answering(200, [_length(2), (b"connection", b"close")], b"ok"))

    assert answer.count(b"connection: close") == 1


@pytest.mark.parametrize(
    ("app", "end"),
    [
        (Answering(200, [_length(4)], b"to", b"ge"), b"\r\n\r\ntoge"),
        (Answering(200, [], b"part"), b"\r\n\r\n4\r\npart\r\n0\r\n\r\n"),
        (Answering(204, [], b""), b"connection: close\r\n\r\n"),
    ],
    ids=["pieces", "no length", "no body"],
)
def test_exchange_leaves_other_answers_to_uvicorn(app: Answering, end: bytes) -> None:
    assert _answer_to(LAST_GET, app).endswith(end)


def test_exchange_sends_no_body_after_head() -> None:
    answer = _answer_to(LAST_GET.replace(b"GET", b"HEAD"), Answering(200, [_length(2)], b"ok"))

    assert answer.endswith(b"connection: close\r\n\r\n")


def test_exchange_sends_long_answers_unchanged() -> None:
    body = bytes(range(256)) * (WHOLE_MOST_BYTES // 256 + 1)

    answer = _answer_to(LAST_GET, Answering(200, [_length(len(body))], body))

    assert answer.partition(b"\r\n\r\n")[2] == body


@pytest.mark.parametrize("value", [b"a\r\nset-cookie: b", b"a\nb", b"a\rb"])
def test_exchange_lets_no_header_be_two(value: bytes) -> None:
    answer = _answer_to(LAST_GET, Answering(200, [_length(2), (b"x-some", value)], b"ok"))

    assert answer == b""


def test_exchange_tells_the_path_decoded_and_as_it_came() -> None:
    app = Answering(200, [_length(2)], b"ok")

    _answer_to(LAST_GET.replace(b" / ", b" /a%20b?c=d%20e "), app)

    assert app.paths == [("/a b", b"/a%20b", b"c=d%20e")]


def test_target_of_a_long_url_is_the_same() -> None:
    path = b"/" + b"a" * LONGEST_KEPT_URL

    assert target_of(path + b"?b=c") == (path.decode(), path, b"b=c")
