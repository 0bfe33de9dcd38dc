"""Bad images in every form: never 500, always one problem whose text says what to do."""

import base64
import struct
import zlib
from collections.abc import AsyncIterator

import httpx
import numpy as np
import pytest

from tests.service.api.bad_input import Case, check, npy, raw
from tests.service.conftest import StartService, as_file, as_npy, picture

PNG = {"Content-Type": "image/png"}
GOOD = as_file(picture())
TEXT = base64.b64encode(GOOD).decode()


def _huge_png(side: int) -> bytes:
    """A valid header of a picture that would take gigabytes, and next to no data."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        checksum = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + checksum

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


IMAGES = {
    "empty body": Case(400, "malformed-input", "got nothing (an empty body)", request=raw(b"")),
    "empty body without a type": Case(400, "malformed-input", "the body must hold images; got not"),
    "truncated png": Case(
        400, "malformed-input", "the PNG image is truncated or damaged", request=raw(GOOD[:-40])
    ),
    "20,000 x 20,000 pixels": Case(
        413,
        "too-many-pixels",
        "an image may have 16777216 pixels at most; got 20000 x 20000 = 400000000",
        request=raw(_huge_png(20_000)),
    ),
    "text called image/png": Case(
        400,
        "malformed-input",
        "must be a PNG, JPEG, WebP or BMP file; got 11 bytes of text",
        request=raw(b"hello world"),
    ),
    "gif called image/png": Case(
        400,
        "malformed-input",
        "got a GIF image",
        request=raw(as_file(picture(), "GIF")),
    ),
    "wrong base64": Case(
        400,
        "malformed-input",
        "images[1] must be base64 with the standard alphabet",
        request={"json": {"images": [TEXT, "%%%"]}},
    ),
    "data address": Case(
        400,
        "malformed-input",
        "got a `data:` address; send what follows its comma",
        request={"json": {"images": [f"data:image/png;base64,{TEXT}"]}},
    ),
    "no json": Case(
        400,
        "malformed-input",
        "a body of `application/json` must be JSON; got",
        request=raw(b"{oops", "application/json"),
    ),
    "empty json": Case(
        400,
        "malformed-input",
        "a body of `application/json` must be JSON; got nothing",
        request=raw(b"", "application/json"),
    ),
    "json with null": Case(
        422,
        "invalid-value",
        "field `images`: must be a list; got `null`",
        request={"json": {"images": None}},
    ),
    "empty image in json": Case(
        400,
        "malformed-input",
        "an image must be a PNG, JPEG, WebP or BMP file; got nothing",
        request={"json": {"images": [""]}},
    ),
    "compressed": Case(
        415,
        "unsupported-media-type",
        "`Content-Encoding` must be left out; got `gzip`; send the body uncompressed",
        request={"content": GOOD, "headers": {"Content-Encoding": "gzip"}},
    ),
    "json of another kind": Case(
        422, "invalid-value", "the body: must be a JSON object; got", request={"json": [1]}
    ),
    "no image in the json": Case(
        422,
        "invalid-value",
        "field `images`: must hold 1 or more; got 0",
        request={"json": {"images": []}},
    ),
    "unknown json key": Case(
        422,
        "invalid-value",
        "field must be one of `images`, `dims`, `top_k`, `threshold`; got `image`; the nearest is",
        request={"json": {"image": TEXT}},
    ),
    "npy with objects": Case(
        400,
        "malformed-input",
        "got Python objects (dtype `object`), which are never unpickled",
        request=npy(np.array([{}, {}], dtype=object)),
    ),
    "npy cut off": Case(
        400,
        "malformed-input",
        "the NumPy array is truncated or damaged",
        request=raw(as_npy(picture()[None])[:-1], "application/x-npy"),
    ),
    "npy of integers": Case(
        422,
        "invalid-value",
        "the array must be uint8 in 0 … 255, or float32 in [0, 1]; got dtype `<i8`",
        request=npy(picture()[None].astype(np.int64)),
    ),
    "npy outside [0, 1]": Case(
        422,
        "invalid-value",
        "float32 images must lie in [0, 1]",
        request=npy(picture()[None].astype(np.float32)),
    ),
    "npy with nan": Case(
        422,
        "invalid-value",
        "float32 images must lie in [0, 1] and not be NaN",
        request=npy(np.full((1, 16, 16), np.nan, np.float32)),
    ),
    "npy without a batch": Case(
        422,
        "invalid-value",
        "images must have the shape (n, height, width)",
        request=npy(picture()),
    ),
    "npy of too many rows": Case(
        413,
        "too-many-rows",
        "a request may have 1024 rows at most; got 1025",
        request=npy(np.zeros((1025, 2, 2), np.uint8)),
    ),
    "multipart of another name": Case(
        422,
        "invalid-value",
        "multipart parts must be named `images`; got `picture`",
        request={"files": [("picture", ("a.png", GOOD, "image/png"))]},
    ),
    "multipart of a name in two lines": Case(
        422,
        "invalid-value",
        'multipart parts must be named `images`; got `two "lines"`',
        request=raw(
            b'--x\r\nContent-Disposition: form-data; name=two\n"lines"\r\n\r\n1\r\n--x--\r\n',
            "multipart/form-data; boundary=x",
        ),
    ),
    "multipart without boundary": Case(
        400,
        "malformed-input",
        "must name a `boundary`; got none",
        request=raw(b"--x--", "multipart/form-data"),
    ),
    "unknown content type": Case(
        415,
        "unsupported-media-type",
        "`Content-Type` must be one of `image/png`, `image/jpeg`, `image/webp`, `image/bmp`, "
        "`multipart/form-data`, `application/json`, `application/x-npy`; got `image/tiff`",
        request=raw(GOOD, "image/tiff"),
    ),
    "no content type": Case(
        415,
        "unsupported-media-type",
        "got `none`; with curl say -H 'Content-Type: image/png'",
        request={"content": GOOD},
    ),
    "unsatisfiable accept": Case(
        406,
        "not-acceptable",
        "`Accept` must allow one of `application/json`, `application/x-npy`; got `text/html`",
        request=raw(GOOD, Accept="text/html"),
    ),
}


@pytest.mark.parametrize("case", [pytest.param(case, id=name) for name, case in IMAGES.items()])
async def test_bad_image_gets_a_problem(client: httpx.AsyncClient, case: Case) -> None:
    await check(client, case)


@pytest.mark.parametrize("path", ["/factors", "/reconstruct", "/traverse", "/swap?dims=0"])
@pytest.mark.parametrize("name", ["truncated png", "20,000 x 20,000 pixels", "npy with objects"])
async def test_bad_images_get_the_same_problem_on_every_route(
    client: httpx.AsyncClient, path: str, name: str
) -> None:
    case = IMAGES[name]

    await check(client, Case(case.status, case.type, case.text, path=path, request=case.request))


async def test_body_over_the_byte_limit_is_refused_by_its_declared_length(
    start_service: StartService,
) -> None:
    async with start_service(max_body_bytes=2000) as started:
        answer = await started.client.post("/encode", content=b"x" * 2001, headers=PNG)

    assert answer.status_code == 413
    assert answer.json()["type"] == "urn:rfvae:problem:payload-too-large"
    assert answer.json()["detail"] == (
        "a body must not be over 2000 bytes; got 2001; send fewer or smaller images, or raise "
        "RFVAE_MAX_BODY_BYTES"
    )


async def test_chunked_body_over_the_byte_limit_is_refused_while_it_comes(
    start_service: StartService,
) -> None:
    sent: list[int] = []

    async def chunks() -> AsyncIterator[bytes]:
        for number in range(100):
            sent.append(number)
            yield b"x" * 500

    async with start_service(max_body_bytes=2000) as started:
        answer = await started.client.post("/encode", content=chunks(), headers=PNG)

    assert answer.status_code == 413
    assert "must not be over 2000 bytes; got more" in answer.json()["detail"]
    assert answer.headers["connection"] == "close"
    assert len(sent) < 10


async def test_images_of_one_request_have_a_pixel_limit_together(
    start_service: StartService,
) -> None:
    files = [("images", (f"{i}.png", GOOD, "image/png")) for i in range(5)]

    async with start_service(max_pixels=16 * 16) as started:
        answer = await started.client.post("/encode", files=files)

    assert answer.status_code == 413
    assert "one request may have 1024 pixels together; got 1280" in answer.text


async def test_batch_over_the_row_limit_is_refused(start_service: StartService) -> None:
    async with start_service(max_rows=2) as started:
        array = await started.client.post("/encode", **npy(np.stack([picture()] * 3)))
        texts = await started.client.post("/encode", json={"images": [TEXT] * 3})
        files = [("images", (f"{i}.png", GOOD, "image/png")) for i in range(3)]
        parts = await started.client.post("/encode", files=files)
        frames = await started.client.post("/traverse?steps=2")

    assert [answer.status_code for answer in (array, texts, parts, frames)] == [413] * 4
    assert "must not have over 2 rows (images, latents or frames); got 4" in frames.text
