"""Large pictures through the HTTP door: what can be read in time is, the rest is refused at once.

The decoder waits for the test; how long a picture takes is what the intake guesses from its header.
"""

import asyncio
import math
import struct
import threading
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import pytest

from service.codecs.spec import DecodedImages
from service.intake import GUESSED_PER_S, Load
from tests.service.asgi import call, http_scope
from tests.service.conftest import SIZE, Started, StartService, as_file, as_npy, picture

NPY = {"Content-Type": "application/x-npy"}
BMP = {"Content-Type": "image/bmp"}
WAIT_S = 30
# One may wait behind another before a deadline of a minute, and no third.
MINUTE: dict[str, Any] = {"request_timeout_ms": 60_000, "image_threads": 1, "max_pixels": 2**30}
SLOW_S = 12.8


def _huge(seconds: float) -> bytes:
    """The header of a picture that takes so long to decode by the intake's guess."""
    side = math.isqrt(round(GUESSED_PER_S * seconds))
    return b"BM" + bytes(12) + struct.pack("<IiiHH", 40, side, side, 1, 8) + bytes(24)


class Decoder:
    """Takes the place of the real one and waits until it is let go."""

    def __init__(self) -> None:
        self.opened = threading.Event()
        self.entered = threading.Event()
        self.read: list[bytes] = []

    def decode_image(self, data: bytes, spec: object, *, max_pixels: int) -> DecodedImages:
        self.read.append(data)
        self.entered.set()
        assert self.opened.wait(WAIT_S)
        return DecodedImages(np.zeros((1, 1, SIZE, SIZE), np.uint8), resized=True)

    async def until_entered(self) -> None:
        assert await asyncio.to_thread(self.entered.wait, WAIT_S)


@pytest.fixture
def decoder(monkeypatch: pytest.MonkeyPatch) -> Iterator[Decoder]:
    """The decoder of single pictures; the test lets it go."""
    decoder = Decoder()
    monkeypatch.setattr("service.api.reading.decode_image", decoder.decode_image)
    yield decoder
    decoder.opened.set()


def _post(started: Started, body: bytes, **headers: str) -> "asyncio.Task[httpx.Response]":
    return asyncio.create_task(
        started.client.post("/encode", content=body, headers={**BMP, **headers})
    )


async def _until_in_flight(started: Started, count: int) -> None:
    """A scrape counts itself, too; a request that it counts has been read or refused."""
    while f"rfvae_requests_in_flight {count + 1}.0" not in await _metrics(started):
        pass


async def _metrics(started: Started) -> str:
    return (await started.client.get("/metrics")).text


async def test_large_pictures_that_would_be_late_are_refused_at_once(
    start_service: StartService, decoder: Decoder
) -> None:
    huge = _huge(SLOW_S)
    async with start_service(**MINUTE) as started:
        accepted = [_post(started, huge)]
        await decoder.until_entered()
        accepted.append(_post(started, huge))
        await _until_in_flight(started, 2)
        refused = await asyncio.gather(*(_post(started, huge) for _ in range(40)))
        metrics = await _metrics(started)
        none_answered = not any(task.done() for task in accepted)
        decoder.opened.set()
        answers = await asyncio.gather(*accepted)

    assert none_answered
    assert [one.status_code for one in answers] == [200, 200]
    assert [one.status_code for one in refused] == [429] * 40
    assert {one.headers["retry-after"] for one in refused} == {"26"}
    problem = refused[0].json()
    assert problem["type"] == "urn:rfvae:problem:queue-too-long"
    assert problem["detail"] == (
        "a large body must be read before the request's deadline; got one behind 25.6 s of "
        "others; retry in 25.6 s, send smaller pictures, or raise `X-Request-Timeout-Ms`"
    )
    assert 'rfvae_rejected_total{reason="queue_too_long"} 40.0' in metrics
    assert len(decoder.read) == 2


async def test_a_picture_that_was_refused_is_read_when_it_comes_back(
    start_service: StartService, decoder: Decoder
) -> None:
    huge = _huge(SLOW_S * 2)
    async with start_service(**MINUTE) as started:
        held = _post(started, huge)
        await decoder.until_entered()
        refused = await _post(started, huge)
        decoder.opened.set()
        await held
        again = await _post(started, huge)

    assert (refused.status_code, again.status_code) == (429, 200)


async def test_small_pictures_probes_and_metrics_do_not_wait_for_large_ones(
    start_service: StartService, decoder: Decoder
) -> None:
    huge = _huge(SLOW_S)
    small = np.stack([picture(seed) for seed in range(4)])
    async with start_service(**MINUTE) as started:
        held = [_post(started, huge)]
        await decoder.until_entered()
        held.append(_post(started, huge))
        await _until_in_flight(started, 2)
        get, post = started.client.get, started.client.post
        answers = [await get(path) for path in ("/livez", "/readyz", "/startupz", "/metrics")]
        latents = {"latents": np.zeros((40, 4)).tolist()}  # a grid that is drawn in a thread
        answers.append(await post("/decode", json=latents))
        answers.append(await post("/encode", content=as_npy(small), headers=NPY))
        none_answered = not any(task.done() for task in held)
        decoder.opened.set()
        await asyncio.gather(*held)

    assert none_answered
    assert [answer.status_code for answer in answers] == [200] * 6


async def test_a_client_that_hangs_up_frees_its_place(
    start_service: StartService, decoder: Decoder
) -> None:
    huge, gone = _huge(SLOW_S), asyncio.Event()
    async with start_service(**MINUTE) as started:
        held = _post(started, huge)
        await decoder.until_entered()
        scope = http_scope("POST", "/encode", headers=BMP)
        leaving = asyncio.create_task(call(started.app, scope, [huge + b"leaves"], gone=gone))
        await _until_in_flight(started, 2)
        full = await _post(started, huge)
        gone.set()
        await leaving
        taken = _post(started, huge + b"taken")
        await _until_in_flight(started, 2)
        decoder.opened.set()
        answers = await asyncio.gather(held, taken)

    assert full.status_code == 429
    assert [answer.status_code for answer in answers] == [200, 200]
    assert decoder.read == [huge, huge + b"taken"]


async def test_a_picture_whose_deadline_passed_is_not_decoded(
    start_service: StartService, decoder: Decoder
) -> None:
    large = _huge(0.01)
    async with start_service(image_threads=1) as started:
        held = _post(started, large)
        await decoder.until_entered()
        expired = await _post(started, large + b"expires", **{"X-Request-Timeout-Ms": "100"})
        later = _post(started, large + b"later")
        await _until_in_flight(started, 2)
        decoder.opened.set()
        answers = await asyncio.gather(held, later)

    assert expired.status_code == 504
    assert [answer.status_code for answer in answers] == [200, 200]
    assert decoder.read == [large, large + b"later"]


async def test_a_picture_of_too_many_pixels_is_refused_while_others_wait(
    start_service: StartService, decoder: Decoder
) -> None:
    async with start_service(**{**MINUTE, "max_pixels": 10**6}) as started:
        held = _post(started, _huge(0.01))
        await decoder.until_entered()
        answer = await _post(started, _huge(SLOW_S))
        decoder.opened.set()
        await held

    assert answer.status_code == 413


async def test_a_jpeg_whose_size_stands_far_back_is_read(client: httpx.AsyncClient) -> None:
    jpeg = as_file(picture(size=40), "JPEG")
    comments = (b"\xff\xfe" + struct.pack(">H", 20_002) + bytes(20_000)) * 2

    answer = await client.post(
        "/encode", content=jpeg[:2] + comments + jpeg[2:], headers={"Content-Type": "image/jpeg"}
    )

    assert answer.status_code == 200
    assert answer.json()["resized"] is True


LONG = bytes(20_000)
FORMS = {
    "picture": ("/encode", "image/png", {}),
    "multipart": ("/factors", "multipart/form-data; boundary=b", {}),
    "json": ("/traverse", "application/json", {}),
    "json of latents": ("/decode", "application/json", {}),
    "npy": ("/reconstruct", "application/x-npy", {}),
    "oip json": ("/v2/models/tiny/infer", "application/json", {}),
    "oip tensor": (
        "/v2/models/tiny/infer",
        "application/octet-stream",
        {"Inference-Header-Content-Length": "0"},
    ),
}


@pytest.mark.parametrize("form", FORMS)
async def test_each_form_of_a_large_body_is_refused_when_it_would_be_late(
    start_service: StartService, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    times = 30 if form in ("npy", "oip tensor") else 1
    monkeypatch.setattr("service.intake.GUESSED_PER_S", 1000 * times)
    path, kind, headers = FORMS[form]
    opened = threading.Event()
    async with start_service(**MINUTE) as started:
        load = Load("other", 100_000 * times, None)
        held = asyncio.create_task(started.service.intake.run(load, opened.wait, WAIT_S))
        await asyncio.sleep(0)
        answer = await started.client.post(
            path, content=LONG * times, headers={"Content-Type": kind, **headers}
        )
        opened.set()
        await held

    assert (answer.status_code, answer.headers["retry-after"]) == (429, "60")


async def test_requests_beyond_those_in_flight_are_told_when_the_pictures_are_read(
    start_service: StartService, decoder: Decoder
) -> None:
    async with start_service(**MINUTE, max_in_flight=1) as started:
        held = _post(started, _huge(SLOW_S))
        await decoder.until_entered()
        answer = await _post(started, as_file(picture(), "BMP"))
        decoder.opened.set()
        await held

    assert (answer.status_code, answer.headers["retry-after"]) == (429, "13")


async def test_small_arrays_that_are_to_be_fitted_wait_as_large_bodies_do(
    start_service: StartService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.intake.GUESSED_PER_S", 1000)
    tiny, fitting = np.zeros((80, 2, 2), np.uint8), np.zeros((80, SIZE, SIZE), np.uint8)
    opened = threading.Event()
    async with start_service(**MINUTE) as started:
        held = asyncio.create_task(
            started.service.intake.run(Load("other", 100_000, None), opened.wait, WAIT_S)
        )
        await asyncio.sleep(0)
        refused = await started.client.post("/encode", content=as_npy(tiny), headers=NPY)
        taken = await started.client.post("/encode", content=as_npy(fitting), headers=NPY)
        opened.set()
        await held
        at_last = await started.client.post("/encode", content=as_npy(tiny[:3]), headers=NPY)

    assert [one.status_code for one in (refused, taken, at_last)] == [429, 200, 200]
    assert at_last.json()["resized"] is True


async def test_tiny_pictures_that_would_become_too_many_bytes_are_refused(
    start_service: StartService,
) -> None:
    rows = 5
    files = [("images", as_file(picture(n)[:2, :2])) for n in range(rows)]
    async with start_service(max_queue_bytes=4 * SIZE**2) as started:
        answers = [
            await started.client.post(
                "/encode", content=as_npy(np.zeros((rows, 2, 2), np.uint8)), headers=NPY
            ),
            await started.client.post("/encode", files=files),
        ]

    for answer in answers:
        assert answer.status_code == 413
        assert f"got {rows * SIZE**2};" in answer.json()["detail"]
