"""The one timer of a request: its deadline, and a client that left."""

import asyncio

import pytest
from starlette.types import Receive

from service.api.guard import BodyPace, Guard, GuardTimer
from service.errors import ClientGone, DeadlineExceeded, InvalidValue, RequestTimeout

PATIENT = BodyPace(timeout_s=60, least_bytes_per_s=1)


async def _never() -> dict[str, object]:
    await asyncio.Event().wait()
    return {}


async def _disconnected() -> dict[str, object]:
    return {"type": "http.disconnect"}


async def _wait(
    receive: Receive,
    timeout_s: float,
    *,
    body_read: bool = True,
    received_bytes: int = 0,
    pace: BodyPace = PATIENT,
) -> None:
    with Guard(receive, timeout_s, pace, GuardTimer()) as guard:
        guard.body_read = body_read
        guard.received_bytes = received_bytes
        await asyncio.Event().wait()


async def test_guard_lets_work_in_time_through() -> None:
    with Guard(_never, 5.0, PATIENT, GuardTimer()) as guard:
        await asyncio.sleep(0)

    assert guard.cause is None


async def test_guard_ends_work_at_the_deadline() -> None:
    with pytest.raises(DeadlineExceeded, match="X-Request-Timeout-Ms"):
        await _wait(_never, 0.01)


async def test_guard_ends_a_body_that_is_not_here_at_the_deadline() -> None:
    with pytest.raises(DeadlineExceeded, match=r"the whole body .* raise `X-Request-Timeout-Ms`"):
        await _wait(_never, 0.01, body_read=False)


async def test_guard_names_the_body_timeout_when_the_deadline_comes_with_it() -> None:
    pace = BodyPace(timeout_s=0.1, least_bytes_per_s=1000)

    with pytest.raises(RequestTimeout, match=r"RFVAE_BODY_TIMEOUT_S"):
        await _wait(_never, 0.1, body_read=False, received_bytes=20, pace=pace)


async def test_guard_ends_a_body_that_comes_too_slowly_before_the_deadline() -> None:
    pace = BodyPace(timeout_s=0.01, least_bytes_per_s=1000)
    text = r"within 0.01 s, or at 1000 bytes a second; got 20 bytes; .* RFVAE_BODY_TIMEOUT_S"

    with pytest.raises(RequestTimeout, match=text):
        await _wait(_never, 60.0, body_read=False, received_bytes=20, pace=pace)


async def test_guard_gives_a_long_body_the_time_that_its_rate_earned() -> None:
    pace = BodyPace(timeout_s=0.001, least_bytes_per_s=1000)

    with pytest.raises(DeadlineExceeded, match="the request's deadline"):
        await _wait(_never, 0.1, body_read=False, received_bytes=60_000, pace=pace)


async def test_guard_gives_work_all_its_time_once_the_body_is_read() -> None:
    pace = BodyPace(timeout_s=0.001, least_bytes_per_s=1000)

    with pytest.raises(DeadlineExceeded):
        await _wait(_never, 0.1, pace=pace)


async def test_guard_ends_work_when_the_client_leaves() -> None:
    with pytest.raises(ClientGone, match="closed the connection"):
        await _wait(_disconnected, 5.0)


async def test_guard_does_not_read_beside_a_body_that_is_still_coming() -> None:
    reads: list[int] = []

    async def receive() -> dict[str, object]:
        reads.append(1)
        return {"type": "http.disconnect"}

    with pytest.raises(DeadlineExceeded):
        await _wait(receive, 0.2, body_read=False)

    assert reads == []


async def test_guard_still_keeps_the_deadline_after_it_began_to_watch() -> None:
    with pytest.raises(DeadlineExceeded):
        await _wait(_never, 0.12)


async def test_guard_lets_an_error_of_the_work_through() -> None:
    with pytest.raises(InvalidValue, match="own"), Guard(_never, 5.0, PATIENT, GuardTimer()):
        raise InvalidValue("own")


async def test_guard_leaves_a_cancellation_from_outside_alone() -> None:
    async def work() -> None:
        with Guard(_never, 5.0, PATIENT, GuardTimer()):
            await asyncio.Event().wait()

    task = asyncio.create_task(work())
    await asyncio.sleep(0)
    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task


async def test_guard_leaves_the_task_usable_after_the_deadline() -> None:
    with pytest.raises(DeadlineExceeded):
        await _wait(_never, 0.01)

    await asyncio.sleep(0)
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


async def test_guard_timer_ends_the_shortest_of_many_first() -> None:
    timer = GuardTimer()
    ended: list[str] = []

    async def wait(name: str, timeout_s: float) -> None:
        try:
            with Guard(_never, timeout_s, PATIENT, timer) as guard:
                guard.body_read = True
                await asyncio.Event().wait()
        except DeadlineExceeded:
            ended.append(name)

    await asyncio.gather(wait("long", 0.12), wait("short", 0.01), wait("middle", 0.07))

    assert ended == ["short", "middle", "long"]


def test_guard_timer_serves_a_second_event_loop() -> None:
    timer = GuardTimer()

    async def wait(timeout_s: float) -> None:
        with Guard(_never, timeout_s, PATIENT, timer):
            await (asyncio.sleep(0) if timeout_s > 1 else asyncio.Event().wait())

    asyncio.run(wait(60.0))
    with pytest.raises(DeadlineExceeded):
        asyncio.run(wait(0.06))
