"""Small work stays on the loop's thread, large work leaves it."""

import threading

import pytest

from service.offload import Offload


@pytest.mark.parametrize("large", [False, True])
async def test_offload_changes_the_thread_for_large_work_only(large: bool) -> None:
    offload = Offload(1)

    thread = await offload.run(large, threading.current_thread)
    offload.close()

    assert (thread is not threading.current_thread()) == large


@pytest.mark.parametrize("large", [False, True])
async def test_offload_raises_what_the_work_raises(large: bool) -> None:
    offload = Offload(1)

    with pytest.raises(ValueError, match="invalid literal"):
        await offload.run(large, int, "x")
    offload.close()
