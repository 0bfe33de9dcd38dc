"""The whole application: many callers at once, overload, deadlines, callers that leave, the end."""

import asyncio
import logging
from typing import Any

import numpy as np
import pytest

from service.observability.metrics import Metrics
from tests.service.asgi import call, http_scope
from tests.service.conftest import (
    RELEVANT,
    Gate,
    StartService,
    as_file,
    as_npy,
    from_npy,
    picture,
)
from tests.service.tiny_model import TinyWeights

PNG = {"Content-Type": "image/png"}
NPY = {"Content-Type": "application/x-npy", "Accept": "application/x-npy"}
GOOD = as_file(picture())


async def _until(condition: Any) -> None:
    while not condition():
        await asyncio.sleep(0)


async def _entered(gate: Gate) -> None:
    assert await asyncio.to_thread(gate.entered.wait, 30)


async def test_app_gives_each_of_many_callers_its_own_answer(
    start_service: StartService, weights: TinyWeights
) -> None:
    pictures = np.stack([picture(seed) for seed in range(120)])
    expected = weights.encode(pictures[:, None])[0][:, RELEVANT]

    async with start_service(lanes=2) as started:
        answers = await asyncio.gather(
            *(started.client.post("/encode", content=as_file(one), headers=PNG) for one in pictures)
        )

    got = [answer.json()["mu"][0] for answer in answers]
    np.testing.assert_allclose(got, expected, atol=1e-4)


async def test_app_gives_callers_of_different_sizes_and_routes_their_own_answers(
    start_service: StartService, weights: TinyWeights
) -> None:
    batches = [
        np.stack([picture(100 * n + seed) for seed in range(n)]) for n in (1, 40, 3, 17, 2, 33)
    ]
    latents = np.random.default_rng(0).standard_normal((5, 4)).astype(np.float32)

    async with start_service(lanes=2) as started:
        encodes = [
            started.client.post("/encode", content=as_npy(batch), headers=NPY) for batch in batches
        ]
        decode = started.client.post("/decode", content=as_npy(latents), headers=NPY)
        *encoded, decoded = await asyncio.gather(*encodes, decode)

    for batch, answer in zip(batches, encoded, strict=True):
        expected = weights.encode(batch[:, None])[0][:, RELEVANT]
        np.testing.assert_allclose(from_npy(answer.content), expected, atol=1e-4)
    levels = np.rint(weights.decode(latents)[:, 0] * 255)
    assert np.abs(from_npy(decoded.content)[..., 0] - levels).max() <= 1


async def test_app_shares_batches_between_callers(start_service: StartService, gate: Gate) -> None:
    async with start_service(gate.registry(bucket_sizes=())) as started:
        post = started.client.post
        requests = [
            asyncio.create_task(post("/encode", content=as_file(picture(seed)), headers=PNG))
            for seed in range(20)
        ]
        batcher = started.service.registry.get().batcher
        await _until(lambda: batcher.pending_requests == 20)
        gate.opened.set()
        answers = await asyncio.gather(*requests)

    assert [answer.status_code for answer in answers] == [200] * 20
    assert len({answer.content for answer in answers}) == 20
    assert sum(gate.batches) == 20
    assert len(gate.batches) < 5


async def test_app_answers_429_with_retry_after_when_the_queue_is_full(
    start_service: StartService, gate: Gate
) -> None:
    async with start_service(gate.registry(max_queue_rows=2, max_batch_rows=1)) as started:
        post = started.client.post
        tasks = [asyncio.create_task(post("/encode", content=GOOD, headers=PNG)) for _ in range(12)]
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        refused = next(iter(done)).result()
        gate.opened.set()
        answers = await asyncio.gather(*tasks)

    assert refused.status_code == 429
    assert int(refused.headers["retry-after"]) >= 1
    assert refused.json()["type"] == "urn:rfvae:problem:queue-full"
    statuses = [answer.status_code for answer in answers]
    assert set(statuses) == {200, 429}
    assert statuses.count(200) >= 2


async def test_app_says_at_once_what_can_never_be_done_in_time(
    start_service: StartService,
) -> None:
    latents = as_npy(np.zeros((1000, 4), np.float32))
    async with start_service() as started:
        batcher = started.service.registry.get().batcher
        await started.client.post("/decode", content=latents, headers=NPY)
        assert batcher.rows_per_s is not None
        too_soon_ms = int(900e3 / batcher.rows_per_s) or 1
        answer = await started.client.post(
            "/decode", content=latents, headers={**NPY, "X-Request-Timeout-Ms": str(too_soon_ms)}
        )
        metrics = (await started.client.get("/metrics")).text

    assert answer.status_code == 504
    assert "retry-after" not in answer.headers
    assert 'rfvae_rejected_total{reason="deadline"} 1.0' in metrics
    assert 'rfvae_rejected_total{reason="queue_full"} 0.0' in metrics


async def test_app_answers_413_to_rows_that_no_queue_could_hold(
    start_service: StartService, gate: Gate
) -> None:
    gate.opened.set()
    images = as_npy(np.stack([picture(seed) for seed in range(5)]))
    async with start_service(gate.registry(max_queue_bytes=1024)) as started:
        answer = await started.client.post("/encode", content=images, headers=NPY)

    assert answer.status_code == 413
    assert answer.json()["type"] == "urn:rfvae:problem:too-many-rows"
    assert answer.json()["detail"].startswith(
        "the rows of a request may have 1024 bytes at most as the model takes and gives them; "
        "got 1280;"
    )


async def test_app_answers_504_at_the_deadline(start_service: StartService, gate: Gate) -> None:
    async with start_service(gate.registry()) as started:
        answer = await started.client.post(
            "/encode", content=GOOD, headers={**PNG, "X-Request-Timeout-Ms": "40"}
        )
        metrics = (await started.client.get("/metrics")).text
        gate.opened.set()

    assert answer.status_code == 504
    assert answer.json()["type"] == "urn:rfvae:problem:deadline-exceeded"
    assert 'rfvae_requests_total{operation="encode",outcome="deadline"} 1.0' in metrics
    assert 'rfvae_rejected_total{reason="deadline"} 1.0' in metrics


async def test_app_uses_the_default_timeout_of_the_settings(
    start_service: StartService, gate: Gate
) -> None:
    async with start_service(gate.registry(), request_timeout_ms=30) as started:
        answer = await started.client.post("/encode", content=GOOD, headers=PNG)
        gate.opened.set()

    assert answer.status_code == 504


async def test_app_frees_the_place_of_a_caller_that_leaves(
    start_service: StartService, gate: Gate
) -> None:
    async with start_service(gate.registry(max_batch_rows=1)) as started:
        first = asyncio.create_task(started.client.post("/encode", content=GOOD, headers=PNG))
        await _entered(gate)
        gone = asyncio.Event()
        scopes = [
            http_scope("POST", "/encode", headers={**PNG, "Content-Length": str(len(GOOD))})
            for _ in range(3)
        ]
        leaving = [
            asyncio.create_task(call(started.app, scope, [GOOD], gone=gone)) for scope in scopes
        ]
        batcher = started.service.registry.get().batcher
        await _until(lambda: batcher.pending_requests == 4)
        gone.set()
        answers = await asyncio.gather(*leaving)
        pending = batcher.pending_requests
        gate.opened.set()
        metrics = (await started.client.get("/metrics")).text
        kept = await first

    assert [answer.status for answer in answers] == [0, 0, 0]
    assert pending == 1
    assert kept.status_code == 200
    assert 'rfvae_requests_total{operation="encode",outcome="client_gone"} 3.0' in metrics
    assert 'rfvae_rejected_total{reason="client_gone"} 3.0' in metrics


async def _never_ends() -> Any:
    yield b"\x89PNG"
    await asyncio.Event().wait()


@pytest.mark.parametrize(
    ("settings", "headers"),
    [({"request_timeout_ms": 40}, {}), ({}, {"X-Request-Timeout-Ms": "40"})],
)
async def test_app_keeps_the_deadline_of_a_request_whose_body_never_ends(
    start_service: StartService, settings: dict[str, Any], headers: dict[str, str]
) -> None:
    async with start_service(**settings) as started:
        answer = await started.client.post("/encode", content=_never_ends(), headers=PNG | headers)
        metrics = (await started.client.get("/metrics")).text

    assert answer.status_code == 504
    assert answer.json()["type"] == "urn:rfvae:problem:deadline-exceeded"
    assert 'rfvae_rejected_total{reason="deadline"} 1.0' in metrics


async def test_app_gives_up_on_a_body_that_never_ends(start_service: StartService) -> None:
    async with start_service(body_timeout_s=0.04) as started:
        answer = await started.client.post("/encode", content=_never_ends(), headers=PNG)

    assert answer.status_code == 408
    assert answer.json()["type"] == "urn:rfvae:problem:request-timeout"


async def test_app_finishes_accepted_requests_before_it_ends(
    start_service: StartService, gate: Gate
) -> None:
    async with start_service(gate.registry()) as started:
        request = asyncio.create_task(started.client.post("/encode", content=GOOD, headers=PNG))
        await _entered(gate)
        asyncio.get_running_loop().call_later(0.05, gate.opened.set)

    answer = await request
    assert answer.status_code == 200


async def test_app_refuses_new_work_once_it_ended(start_service: StartService) -> None:
    async with start_service() as started:
        pass

    answer = await call(started.app, http_scope("POST", "/encode", headers=PNG), [GOOD])
    assert answer.status == 503


def _out_of_memory(images: Any) -> Any:
    raise RuntimeError("CUDA out\nof memory")


async def test_app_logs_why_a_batch_failed_and_hides_it_from_the_caller(
    start_service: StartService,
    gate: Gate,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with start_service(gate.registry(Metrics())) as started:
        gate.opened.set()
        monkeypatch.setattr(started.service.registry.get().engine, "encode", _out_of_memory)
        answer = await started.client.post("/encode", content=GOOD, headers=PNG)

    assert answer.status_code == 500
    assert answer.json()["type"] == "urn:rfvae:problem:inference-failed"
    assert "memory" not in answer.text
    batch, request = [one for one in caplog.records if one.levelno == logging.ERROR]
    assert (batch.getMessage(), request.getMessage()) == ("batch_failed", "request_failed")
    assert batch.fields == {"operation": "encode", "requests": 1}  # type: ignore[attr-defined]
    assert "RuntimeError: CUDA out\nof memory" in caplog.text
    assert request.fields == {  # type: ignore[attr-defined]
        "request_id": answer.headers["x-request-id"],
        "operation": "encode",
        "model": "tiny",
        "version": "1",
        "reason": "RuntimeError: CUDA out of memory",
    }


async def test_app_logs_why_a_batch_failed_whose_requests_then_succeed(
    start_service: StartService,
    gate: Gate,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with start_service(gate.registry(Metrics())) as started:
        model = started.service.registry.get()
        encode = model.engine.encode
        monkeypatch.setattr(
            model.engine,
            "encode",
            lambda images: encode(images) if len(images) == 1 else _out_of_memory(images),
        )
        post = started.client.post
        tasks = [asyncio.create_task(post("/encode", content=GOOD, headers=PNG)) for _ in range(8)]
        await _until(lambda: model.batcher.pending_requests == 8)
        gate.opened.set()
        answers = await asyncio.gather(*tasks)

    assert [answer.status_code for answer in answers] == [200] * 8
    errors = {one.getMessage() for one in caplog.records if one.levelno == logging.ERROR}
    assert errors == {"batch_failed"}
    assert "RuntimeError: CUDA out\nof memory" in caplog.text
