"""Lanes run jobs in threads and come back to the loop."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

from service.batching.lanes import Lanes


async def _where(lanes: Lanes) -> tuple[str, str]:
    names: list[str] = []
    done = asyncio.Event()

    def finish() -> None:
        names.append(threading.current_thread().name)
        done.set()

    lanes.start(lambda: names.append(threading.current_thread().name), finish)
    await asyncio.wait_for(done.wait(), 5)
    return names[0], names[1]


async def test_jobs_run_in_a_lane_and_report_on_the_loop() -> None:
    lanes = Lanes(1)
    job, report = await _where(lanes)
    assert job.startswith("rfvae-lane")
    assert report == threading.current_thread().name
    lanes.close()


async def test_a_given_executor_is_used_and_left_running() -> None:
    with ThreadPoolExecutor(1, thread_name_prefix="mine") as executor:
        lanes = Lanes(1, executor)
        assert (await _where(lanes))[0].startswith("mine")
        lanes.close()
        assert executor.submit(lambda: 1).result(5) == 1
