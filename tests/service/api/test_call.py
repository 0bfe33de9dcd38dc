"""What a handler gets: the time it has, and the body."""

from typing import Any

import pytest

from tests.service.asgi import http_scope
from tests.service.conftest import Gate, StartService, as_file, picture

PNG = {"Content-Type": "image/png"}


async def test_call_cuts_a_long_timeout_to_the_setting(
    start_service: StartService, gate: Gate
) -> None:
    longest = {"request_timeout_ms": 30, "max_request_timeout_ms": 40}
    async with start_service(gate.registry(), **longest) as started:
        answer = await started.client.post(
            "/encode",
            content=as_file(picture()),
            headers={**PNG, "X-Request-Timeout-Ms": "999999999"},
        )
        gate.opened.set()

    assert answer.status_code == 504


@pytest.mark.parametrize("given", ["0", "-5", "1.5", "", "9" * 16])
async def test_call_refuses_a_timeout_that_is_no_count(
    start_service: StartService, given: str
) -> None:
    async with start_service() as started:
        answer = await started.client.post("/encode", headers={"X-Request-Timeout-Ms": given})

    assert answer.status_code == 400
    assert f"got `{given}`" in answer.json()["detail"]


async def test_call_counts_a_client_that_leaves_before_its_body_is_complete(
    start_service: StartService,
) -> None:
    messages = [
        {"type": "http.request", "body": b"\x89PNG", "more_body": True},
        {"type": "http.disconnect"},
    ]
    sent: list[Any] = []

    async def receive() -> Any:
        return messages.pop(0)

    async def send(message: Any) -> None:
        sent.append(message)

    async with start_service() as started:
        await started.app(http_scope("POST", "/encode", headers=PNG), receive, send)
        metrics = (await started.client.get("/metrics")).text

    assert sent == []
    assert 'rfvae_requests_total{operation="encode",outcome="client_gone"} 1.0' in metrics
