"""Values that change with the step: a number, or points joined by straight lines."""

import itertools
from bisect import bisect_right
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator

Points = tuple[tuple[float, float], ...]


_RULE = (
    "a schedule is a number or [step, value] points with rising steps, "
    "for example [[0, 10], [5000, 1]]"
)


def _paired(schedule: Any) -> Any:
    is_list = isinstance(schedule, list | tuple)
    if is_list and not all(isinstance(point, list | tuple) for point in schedule):
        raise ValueError(f"{_RULE}: got {schedule}")
    return schedule


def _checked(schedule: float | Points) -> float | Points:
    values = [value for _, value in schedule] if isinstance(schedule, tuple) else [schedule]
    if min(values, default=0) < 0:
        raise ValueError(f"a weight or a rate must be 0 or more: got {min(values):g}")
    if isinstance(schedule, tuple):
        steps = [step for step, _ in schedule]
        if not steps or any(later <= earlier for earlier, later in itertools.pairwise(steps)):
            raise ValueError(_RULE)
    return schedule


Schedule = Annotated[float | Points, BeforeValidator(_paired), AfterValidator(_checked)]


def schedule_value(schedule: float | Points, step: int) -> float:
    """The schedule's value at `step`: linear between points, constant before and after them.

    Args:
        schedule: A number, or points (step, value) with rising steps.
        step: Training step, from 0.
    """
    if not isinstance(schedule, tuple):
        return float(schedule)
    after = bisect_right([point[0] for point in schedule], step)
    if after == 0:
        return float(schedule[0][1])
    if after == len(schedule):
        return float(schedule[-1][1])
    (left, low), (right, high) = schedule[after - 1], schedule[after]
    return float(low + (high - low) * (step - left) / (right - left))


def is_always_zero(schedule: float | Points) -> bool:
    """Whether the schedule is 0 at every step."""
    if isinstance(schedule, tuple):
        return all(value == 0 for _, value in schedule)
    return schedule == 0
