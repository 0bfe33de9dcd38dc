"""Damaged bodies of every kind: a clear refusal or an answer, nothing left behind, life goes on."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.service.asgi import Answer
from tests.service.conftest import as_file, picture
from tests.service.fuzz import files
from tests.service.fuzz.conftest import Door

FEW = settings(max_examples=40, derandomize=True, database=None)
MANY = settings(
    FEW,
    max_examples=4000,
    derandomize=False,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
HOW_MANY = [pytest.param(FEW, id="few"), pytest.param(MANY, id="many", marks=pytest.mark.slow)]
GOOD = as_file(picture())
INFER = "/v2/models/tiny/infer"


@dataclass(frozen=True)
class Target:
    """Where damaged files go, and as what."""

    path: str
    media_type: str
    files: Sequence[bytes]
    headers: dict[str, str] = field(default_factory=dict)


OIP_LENGTH, OIP_BODY = files.oip_binary()
TARGETS = {
    "png": Target("/encode?dims=all", "image/png", files.png_files()),
    "jpeg": Target("/encode", "image/jpeg", files.jpeg_files()),
    "webp": Target("/encode", "image/webp", files.webp_files()),
    "bmp": Target("/encode", "image/bmp", files.bmp_files()),
    "multipart": Target(
        "/interpolate", "multipart/form-data; boundary=edge", files.multipart_bodies()
    ),
    "image npy": Target("/factors", "application/x-npy", files.image_arrays()),
    "latent npy": Target("/decode", "application/x-npy", files.latent_arrays()),
    "any npy": Target(
        "/traverse", "application/x-npy", [*files.image_arrays(), *files.latent_arrays()]
    ),
    "image json": Target("/reconstruct", "application/json", files.image_json()),
    "latent json": Target("/decode", "application/json", files.latent_json()),
    "traverse json": Target("/traverse", "application/json", files.latent_json()),
    "row json": Target("/encode?model=rows", "application/json", files.row_json()),
    "row factors json": Target("/factors?model=rows", "application/json", files.row_json()),
    "row npy": Target("/reconstruct?model=rows", "application/x-npy", files.row_arrays()),
    "row latents": Target("/decode?model=rows", "application/x-npy", files.latent_arrays()),
    "row oip": Target("/v2/models/rows/infer", "application/json", files.oip_json()),
    "oip json": Target(INFER, "application/json", files.oip_json()),
    "oip binary": Target(
        INFER,
        "application/octet-stream",
        [OIP_BODY],
        {"Inference-Header-Content-Length": str(OIP_LENGTH)},
    ),
}


@pytest.mark.parametrize("how_many", HOW_MANY)
@pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS.keys())
def test_damaged_body_is_answered_or_refused(
    door: Door, target: Target, how_many: settings
) -> None:
    headers = {"Content-Type": target.media_type, **target.headers}

    @how_many
    @given(files.mutated(target.files))
    def check(body: bytes) -> None:
        _require_sound(door, target.path, door.post(target.path, body, **headers))

    check()


@pytest.mark.parametrize("how_many", HOW_MANY)
def test_lying_lengths_are_refused(door: Door, how_many: settings) -> None:
    lengths = st.integers(-2, 2 * OIP_LENGTH).map(str) | st.text(
        st.characters(codec="ascii", exclude_categories=["Cc"]), max_size=30
    )

    @how_many
    @given(lengths)
    def check(length: str) -> None:
        headers = {"Inference-Header-Content-Length": length}
        _require_sound(door, INFER, door.post(INFER, OIP_BODY, **headers))

    check()


def _require_sound(door: Door, path: str, answer: Answer) -> None:
    assert answer.status in (200, 400, 404, 413, 415, 422), answer.body
    if answer.status != 200:
        _require_problem(answer, is_oip=path.startswith("/v2/"))
    elif answer.headers["content-type"] == "application/json":
        assert b"null," not in answer.body.replace(b'"dim":null,', b"")  # NaN or infinity
    for model in door.service.registry.ready_models():
        batcher = model.batcher
        assert (batcher.pending_requests, batcher.queue_rows, batcher.running_rows) == (0, 0, 0)
    good = door.post("/encode", GOOD, **{"Content-Type": "image/png"})
    assert good.status == 200


def _require_problem(answer: Answer, *, is_oip: bool) -> None:
    problem = orjson.loads(answer.body)
    media_type = "application/json" if is_oip else "application/problem+json"
    assert answer.headers["content-type"] == media_type
    text = problem["error"] if is_oip else problem["detail"]
    assert text
    assert "\n" not in text
    assert len(text) < 600
    assert "Traceback" not in text
