"""What all tests of bad input share: a request, the problem it must get, and the check."""

from dataclasses import dataclass, field
from typing import Any

import httpx

from service.api.problems import TYPE_PREFIX
from service.api.schemas import Problem
from tests.service.conftest import as_npy


@dataclass
class Case:
    """A request and the answer that it must get."""

    status: int
    type: str
    text: str
    method: str = "POST"
    path: str = "/encode"
    request: dict[str, Any] = field(default_factory=dict)


def raw(content: bytes, kind: str = "image/png", **headers: str) -> dict[str, Any]:
    return {"content": content, "headers": {"Content-Type": kind, **headers}}


def npy(array: Any) -> dict[str, Any]:
    return raw(as_npy(array), "application/x-npy")


def latents(*rows: Any, **options: Any) -> dict[str, Any]:
    return {"json": {"latents": list(rows), **options}}


async def check(client: httpx.AsyncClient, case: Case) -> None:
    answer = await client.request(case.method, case.path, **case.request)

    assert answer.status_code == case.status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem = Problem.model_validate(answer.json(), strict=True)
    assert problem.type == TYPE_PREFIX + case.type
    assert problem.status == case.status
    assert problem.request_id == answer.headers["x-request-id"]
    assert case.text in problem.detail
    assert "Traceback" not in answer.text
