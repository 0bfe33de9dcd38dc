"""The error tree: its docstring, its statuses and the texts that it builds."""

from __future__ import annotations

import os
import re

import pytest

from service import errors
from service.errors import (
    DeadlineExceeded,
    Draining,
    QueueFull,
    ServiceError,
    UnknownDimension,
    UnknownModel,
    UnknownVersion,
)


def _tree(base: type[ServiceError]) -> list[type[ServiceError]]:
    """In the order of the module; the HTTP layer has errors of its own."""
    children = [child for child in base.__subclasses__() if child.__module__ == errors.__name__]
    return [base, *(found for child in children for found in _tree(child))]


ALL_ERRORS = _tree(ServiceError)


def test_docstring_draws_every_error_with_its_status_and_type() -> None:
    lines = re.findall(r"^[\s│├└─]*(\w+)\s+(\d{3}) ([a-z-]+)", errors.__doc__ or "", re.M)
    drawn = [(name, int(status), slug) for name, status, slug in lines]
    assert drawn == [(error.__name__, error.status, error.type) for error in ALL_ERRORS]


def test_types_are_unique_slugs() -> None:
    types = [error.type for error in ALL_ERRORS]
    assert len(set(types)) == len(types)
    assert all(re.fullmatch(r"[a-z]+(-[a-z]+)*", slug) for slug in types)


@pytest.mark.parametrize("error", ALL_ERRORS)
def test_title_is_a_short_sentence(error: type[ServiceError]) -> None:
    assert error.title[0].isupper()
    assert not error.title.endswith(".")


def test_detail_is_the_text_of_the_exception() -> None:
    error = ServiceError("the rule; got this; do that")
    assert error.detail == str(error) == "the rule; got this; do that"


def test_detail_is_text_whatever_a_path_holds() -> None:
    assert ServiceError(f"`{os.fsdecode(b'caf' + bytes([0xE9]))}`").detail == "`caf?`"


def test_unknown_model_says_what_exists() -> None:
    assert UnknownModel("ovals", ["oval-dsprites", "faces"]).detail == (
        "`model` must be one of `oval-dsprites`, `faces`; got `ovals`; "
        "choose one of these, or leave it out for the default model"
    )


def test_unknown_model_shortens_a_long_name() -> None:
    detail = UnknownModel("x" * 500, []).detail
    assert "must be one of (none); got `" + "x" * 60 + "…`" in detail


def test_unknown_version_says_what_exists() -> None:
    assert UnknownVersion("faces", 7, [1, 2]).detail == (
        "`version` of model `faces` must be one of `1`, `2`; got `7`; "
        "leave it out for the default version"
    )


def test_unknown_dimension_says_the_range() -> None:
    assert UnknownDimension(10, 10).detail == (
        "a dimension must be an integer from 0 to 9 or the name of a factor; got `10`; "
        "see GET /factors for the dimensions of this model"
    )


def test_queue_full_carries_the_time_to_wait() -> None:
    error = QueueFull(1.25)
    assert error.retry_after_s == 1.25
    assert error.detail == "the queue is full; retry in 1.2 s or send fewer rows"


def test_errors_without_arguments_have_a_text() -> None:
    assert Draining().detail.startswith("the service is shutting down")
    assert "`X-Request-Timeout-Ms`" in DeadlineExceeded().detail
