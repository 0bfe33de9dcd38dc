"""What is taken, in which order it is read, and what is refused, skipped or let go."""

import asyncio
import gc
import threading
import weakref
from collections.abc import AsyncIterator

import pytest

from service.errors import DeadlineExceeded, QueueTooLong
from service.intake import GUESSED_PER_S, Intake, Load

WAIT_S = 30


class Bench:
    """An intake whose clock the test sets, and work that waits until it is let go."""

    def __init__(self) -> None:
        self.now_s = 100.0
        self.intake = Intake(1, clock=lambda: self.now_s)
        self.opened = threading.Event()
        self.entered = threading.Event()
        self.read: list[str] = []

    def start(
        self, name: str, *, guessed_s: float = 1.0, within_s: float | None = None
    ) -> "asyncio.Task[str]":
        """A body that takes so long at the guessed rate."""
        deadline_s = None if within_s is None else self.now_s + within_s
        load = Load("form", round(GUESSED_PER_S * guessed_s), deadline_s)
        return asyncio.create_task(self.intake.run(load, self._work, name))

    async def hold(self, *, guessed_s: float = 1.0) -> "asyncio.Task[str]":
        """One that keeps the thread."""
        held = self.start("held", guessed_s=guessed_s)
        assert await asyncio.to_thread(self.entered.wait, WAIT_S)
        return held

    async def measure(self, *, guessed_s: float, seconds: float) -> None:
        """Reads one that takes so long in truth."""
        held = await self.hold(guessed_s=guessed_s)
        self.now_s += seconds
        self.opened.set()
        await held
        self.opened.clear()
        self.entered.clear()
        self.read.clear()

    def _work(self, name: str) -> str:
        self.read.append(name)
        self.entered.set()
        assert self.opened.wait(WAIT_S)
        return name


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    bench = Bench()
    yield bench
    bench.opened.set()
    bench.intake.close()


async def _turn() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_intake_reads_in_the_order_in_which_bodies_came(bench: Bench) -> None:
    tasks = [await bench.hold(), *(bench.start(name) for name in "abc")]
    await _turn()
    bench.opened.set()

    assert await asyncio.gather(*tasks) == ["held", "a", "b", "c"]
    assert bench.read == ["held", "a", "b", "c"]


async def test_intake_raises_what_reading_raises() -> None:
    intake = Intake(1)

    with pytest.raises(ValueError, match="invalid literal"):
        await intake.run(Load("form", 1, None), int, "x")
    intake.close()


async def test_intake_refuses_what_would_be_late_at_half_the_rate(bench: Bench) -> None:
    held = await bench.hold()
    taken = bench.start("taken", within_s=3.01)
    await _turn()
    with pytest.raises(QueueTooLong) as refused:
        await bench.start("refused", within_s=4.99)
    bench.opened.set()

    assert await asyncio.gather(held, taken) == ["held", "taken"]
    assert refused.value.retry_after_s == pytest.approx(2)
    assert refused.value.detail == (
        "a large body must be read before the request's deadline; got one behind 2.0 s of others; "
        "retry in 2.0 s, send smaller pictures, or raise `X-Request-Timeout-Ms`"
    )


async def test_intake_refuses_for_good_what_alone_would_be_late(bench: Bench) -> None:
    held = await bench.hold(guessed_s=0.01)
    with pytest.raises(DeadlineExceeded) as refused:
        await bench.start("refused", guessed_s=1.7, within_s=1.5)
    bench.opened.set()
    await held

    assert refused.value.detail == (
        "a large body must be read before the request's deadline, in 1.5 s; this one takes 1.7 s "
        "at the present rate, even when nothing else waits; send smaller pictures, or raise "
        "`X-Request-Timeout-Ms`"
    )
    assert await bench.start("taken", guessed_s=1.7, within_s=1.5) == "taken"  # a thread is free


async def test_intake_takes_the_same_again_once_its_hint_has_passed(bench: Bench) -> None:
    held = await bench.hold()
    with pytest.raises(QueueTooLong) as refused:
        await bench.start("again", within_s=2)
    bench.now_s += refused.value.retry_after_s
    bench.opened.set()
    await held

    assert await bench.start("again", within_s=2) == "again"


async def test_intake_measures_its_rate(bench: Bench) -> None:
    await bench.measure(guessed_s=1000, seconds=1)
    held = await bench.hold(guessed_s=1000)
    taken = bench.start("taken", guessed_s=1000, within_s=4)
    await _turn()
    wait_s, hint_s = bench.intake.wait_s(), bench.intake.retry_after_s()
    bench.opened.set()

    assert await asyncio.gather(held, taken) == ["held", "taken"]
    assert wait_s == hint_s == pytest.approx(2, rel=0.1)
    assert bench.intake.wait_s() == 0


async def test_intake_does_not_learn_its_rate_from_damaged_bodies(bench: Bench) -> None:
    for _ in range(10):
        with pytest.raises(ValueError, match="invalid literal"):
            await bench.intake.run(Load("form", 10**9, None), int, "x")
    held = await bench.hold()

    assert bench.intake.retry_after_s() == pytest.approx(1)
    bench.opened.set()
    await held


async def test_intake_keeps_the_rates_of_kinds_apart(bench: Bench) -> None:
    await bench.measure(guessed_s=1, seconds=50)
    bench.opened.set()
    other = Load("other form", GUESSED_PER_S, None)
    bench.opened.clear()
    task = asyncio.create_task(bench.intake.run(other, bench.opened.wait, WAIT_S))
    await _turn()
    hint_s = bench.intake.retry_after_s()
    bench.opened.set()
    await task

    assert hint_s == pytest.approx(1)


async def test_intake_takes_whatever_comes_while_a_thread_is_free(bench: Bench) -> None:
    bench.opened.set()

    assert await bench.start("long", guessed_s=1000, within_s=1) == "long"


async def test_intake_refuses_what_comes_after_its_deadline(bench: Bench) -> None:
    with pytest.raises(DeadlineExceeded):
        await bench.start("late", within_s=0)

    assert bench.read == []


async def test_intake_skips_what_has_expired(bench: Bench) -> None:
    held = await bench.hold()
    expired, later = bench.start("expired", within_s=4), bench.start("later")
    await _turn()
    bench.now_s += 4
    bench.opened.set()

    with pytest.raises(DeadlineExceeded):
        await expired
    await asyncio.gather(held, later)
    assert bench.read == ["held", "later"]


async def test_intake_frees_the_place_of_a_caller_that_left(bench: Bench) -> None:
    held, left = await bench.hold(), bench.start("left")
    await _turn()
    with pytest.raises(QueueTooLong):
        await bench.start("early", within_s=4)
    left.cancel()
    await _turn()
    taken = bench.start("taken", within_s=4)
    await _turn()
    bench.opened.set()

    assert await asyncio.gather(held, taken) == ["held", "taken"]
    assert bench.read == ["held", "taken"]
    assert left.cancelled()


async def test_intake_counts_what_is_read_for_nobody_until_the_thread_is_free(
    bench: Bench,
) -> None:
    held = await bench.hold()
    held.cancel()
    await _turn()
    with pytest.raises(QueueTooLong):
        await bench.start("refused", within_s=2)
    bench.opened.set()

    assert await bench.start("after", guessed_s=0.5) == "after"


class _Body:
    """Something that can be seen to go."""


async def test_intake_lets_go_of_the_body_of_a_caller_that_left(bench: Bench) -> None:
    held = await bench.hold()
    body = _Body()
    seen = weakref.ref(body)
    left = asyncio.create_task(bench.intake.run(Load("form", 1, None), id, body))
    del body
    await _turn()
    left.cancel()
    await _turn()
    del left
    gc.collect()

    assert seen() is None
    bench.opened.set()
    await held
