"""Bad queries, latents and traversals: one problem each, whose text says what to do."""

import base64
import json

import httpx
import numpy as np
import pytest

from tests.service.api.bad_input import Case, check, latents, npy, raw
from tests.service.conftest import as_file, picture

GOOD = as_file(picture())
TEXT = base64.b64encode(GOOD).decode()

QUERIES = {
    "unknown model": Case(
        404, "unknown-model", "`model` must be one of `tiny`; got `huge`", path="/encode?model=huge"
    ),
    "unknown version": Case(
        404,
        "unknown-version",
        "`version` of model `tiny` must be one of `1`; got `7`",
        path="/encode?version=7",
    ),
    "version that is no number": Case(
        422, "invalid-value", "query parameter `version`: input should be", path="/encode?version=x"
    ),
    "query where none is taken": Case(
        422,
        "invalid-value",
        "this route takes no query parameter; got `x`; leave it out",
        method="GET",
        path="/models?x=1",
    ),
    "dims of encode in query and body": Case(
        422,
        "invalid-value",
        "`dims` must stand in the query or in the body; got it in both",
        path="/encode?dims=all",
        request={"json": {"images": [TEXT], "dims": [1]}},
    ),
    "latents' dims in query and body": Case(
        422,
        "invalid-value",
        "`dims` must stand in the query or in the body; got it in both",
        path="/decode?dims=1",
        request={"json": {"latents": [[1.0]], "dims": [1]}},
    ),
    "unknown dimension": Case(
        404,
        "unknown-dimension",
        "a dimension must be an integer from 0 to 3 or the name of a factor; got `9`",
        path="/encode?dims=9",
    ),
    "dimension of an unknown name": Case(
        404, "unknown-dimension", "got `color`; see GET /factors", path="/encode?dims=color"
    ),
    "dimension twice": Case(
        422,
        "invalid-value",
        "`dims` must not name a dimension twice; got [1, 1]",
        path="/encode?dims=1,1",
    ),
    "no dimension": Case(
        422,
        "invalid-value",
        "query parameter `dims`: must be `relevant`, `all`",
        path="/encode?dims=",
    ),
    "top_k of 0": Case(
        422, "invalid-value", "query parameter `top_k`: input should be", path="/encode?top_k=0"
    ),
    "threshold above 1": Case(
        422, "invalid-value", "`threshold`: input should be less", path="/encode?threshold=1.5"
    ),
    "unknown parameter": Case(
        422,
        "invalid-value",
        "query parameter must be one of `model`, `version`, `dims`, `top_k`, `threshold`; got "
        "`thresold`; the nearest is `threshold`",
        path="/encode?thresold=0.5",
    ),
    "parameter twice": Case(
        422,
        "invalid-value",
        "query parameter `top_k` must be given once",
        path="/encode?top_k=1&top_k=2",
    ),
    "very long query": Case(
        422,
        "invalid-value",
        "a query string must not be over 4096 bytes",
        path=f"/encode?dims={'1,' * 3000}",
    ),
    "time-out that is no number": Case(
        400,
        "malformed-input",
        "`X-Request-Timeout-Ms` must be a whole number of milliseconds from 1 up; got `soon`",
        request=raw(GOOD, **{"X-Request-Timeout-Ms": "soon"}),
    ),
    "unknown path": Case(404, "not-found", "got `/encoder`; see /docs", path="/encoder"),
    "slash at the end": Case(404, "not-found", "got `/encode/`; see /docs", path="/encode/"),
    "slash behind a name": Case(
        404, "not-found", "got `/models/tiny/`; see /docs", method="GET", path="/models/tiny/"
    ),
    "wrong method": Case(
        405, "method-not-allowed", "this path takes POST; got GET", method="GET", path="/encode"
    ),
}
LATENTS = {
    "nan": Case(
        422,
        "invalid-value",
        "field `latents.0.1`: input should be a finite number; got `nan`",
        path="/decode",
        request=raw(b'{"latents": [[0, NaN]]}', "application/json"),
    ),
    "infinity": Case(
        422,
        "invalid-value",
        "field `latents.0.0`: input should be a finite number; got `inf`",
        path="/decode",
        request=raw(b'{"latents": [[1e999, 0]]}', "application/json"),
    ),
    "far beyond the prior": Case(
        422,
        "invalid-value",
        "field `latents.0.0`: input should be less than or equal to 1000000",
        path="/decode",
        request=latents([1e30, 0]),
    ),
    "nan in npy": Case(
        422,
        "invalid-value",
        "latents must be finite float32 numbers; got NaN or infinity",
        path="/decode",
        request=npy(np.array([[np.nan, 0]], np.float32)),
    ),
    "infinity in npy": Case(
        422,
        "invalid-value",
        "latents must be finite float32 numbers; got NaN or infinity",
        path="/decode",
        request=npy(np.array([[1e300, 0]])),
    ),
    "far beyond the prior in npy": Case(
        422,
        "invalid-value",
        "latents must lie between -1e+06 and 1e+06; got one as large as 3e+38",
        path="/decode",
        request=npy(np.array([[3e38, -3e38]], np.float32)),
    ),
    "wrong number": Case(
        422,
        "invalid-value",
        "a row of latents must have 4 numbers, or 2 for the relevant dimensions; got 3",
        path="/decode",
        request=latents([1, 2, 3]),
    ),
    "wrong number for dims": Case(
        422,
        "invalid-value",
        "a row of latents must have 1 numbers, one for each of `dims`; got 2",
        path="/decode",
        request=latents([1, 2], dims=[0]),
    ),
    "rows that differ": Case(
        422,
        "invalid-value",
        "latents must be rows of numbers, all of one length",
        path="/decode",
        request=latents([1, 2], [1]),
    ),
    "no rows": Case(
        422,
        "invalid-value",
        "field `latents`: must hold 1 or more; got 0",
        path="/decode",
        request=latents(),
    ),
    "text": Case(
        422,
        "invalid-value",
        "field `latents.0.0`: input should be a valid number; got `a`",
        path="/decode",
        request=latents(["a", 1]),
    ),
    "unknown dimension": Case(
        404, "unknown-dimension", "got `7`", path="/decode", request=latents([1], dims=[7])
    ),
    "nothing": Case(
        400, "malformed-input", "the body must hold latents; got nothing", path="/decode"
    ),
    "an image": Case(
        415,
        "unsupported-media-type",
        "`Content-Type` must be one of `application/json`, `application/x-npy`; got `image/png`",
        path="/decode",
        request=raw(GOOD),
    ),
    "unsatisfiable accept": Case(
        406,
        "not-acceptable",
        "one of `image/png`, `application/x-npy`, `application/json`; got `image/gif`",
        path="/decode",
        request={**latents([0, 0]), "headers": {"Accept": "image/gif"}},
    ),
    "over the row limit": Case(
        413,
        "too-many-rows",
        "a request must not have over 1024 rows; got 1025",
        path="/decode",
        request=latents(*[[0, 0]] * 1025),
    ),
}
TRAVERSALS = {
    **{
        f"steps {steps}": Case(
            422,
            "invalid-value",
            f"`steps` must be 2 to 101; got {steps}",
            path=f"/traverse?steps={steps}",
        )
        for steps in (-1, 0, 1, 102, 10**9)
    },
    "steps 1 in json": Case(
        422, "invalid-value", "2 to 101; got 1", path="/traverse", request={"json": {"steps": 1}}
    ),
    "steps of an interpolation": Case(
        422,
        "invalid-value",
        "`steps` must be 2 to 101; got 1000000000",
        path="/interpolate?steps=1000000000",
        request={"json": {"images": [TEXT, TEXT]}},
    ),
    "steps that are no number": Case(
        422,
        "invalid-value",
        "`steps`: input should be a valid integer",
        path="/traverse?steps=many",
    ),
    "endless range": Case(
        422, "invalid-value", "`high`: input should be a finite number", path="/traverse?high=inf"
    ),
    "unknown dimension": Case(
        404, "unknown-dimension", "got `4`", path="/traverse", request={"json": {"dims": [4]}}
    ),
    "two images": Case(
        422,
        "invalid-value",
        "a traversal starts at one image or row; got 2",
        path="/traverse",
        request=npy(np.stack([picture()] * 2)),
    ),
    "image and latents": Case(
        422,
        "invalid-value",
        "a body must hold `images` or `latents`; got both",
        path="/traverse",
        request={"json": {"images": [TEXT], "latents": [[0, 0]]}},
    ),
    "dims in query and body": Case(
        422,
        "invalid-value",
        "`dims` must stand in the query or in the body; got it in both",
        path="/traverse?dims=1",
        request={"json": {"dims": [1]}},
    ),
    "unsatisfiable accept": Case(
        406,
        "not-acceptable",
        "one of `image/png`, `image/gif`, `image/webp`, `application/x-npy`, `application/json`",
        path="/traverse",
        request={"headers": {"Accept": "video/mp4"}},
    ),
}
CASES = [
    pytest.param(case, id=f"{group}: {name}")
    for group, cases in {"query": QUERIES, "latents": LATENTS, "traverse": TRAVERSALS}.items()
    for name, case in cases.items()
]


@pytest.mark.parametrize("case", CASES)
async def test_bad_value_gets_a_problem(client: httpx.AsyncClient, case: Case) -> None:
    await check(client, case)


async def test_deep_json_is_refused(client: httpx.AsyncClient) -> None:
    answer = await client.post(
        "/decode", content=b"[" * 100_000, headers={"Content-Type": "application/json"}
    )

    assert answer.status_code == 400
    assert "recursion limit" in answer.json()["detail"]


async def test_problem_text_stays_short(client: httpx.AsyncClient) -> None:
    answer = await client.get("/models/" + "x" * 5000)

    assert answer.status_code == 404
    assert len(json.dumps(answer.json())) < 1000
