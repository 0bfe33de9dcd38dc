"""Dispatch by fixed path, and the router for all else."""

import httpx
import pytest


@pytest.mark.parametrize("path", ["/models/tiny", "/models"])
async def test_route_finds_fixed_paths_and_paths_with_parameters(
    client: httpx.AsyncClient, path: str
) -> None:
    assert (await client.get(path)).status_code == 200
    assert (await client.head(path)).status_code == 200


async def test_route_redirects_nobody_for_a_slash_too_many(client: httpx.AsyncClient) -> None:
    answer = await client.get("/models/")

    assert answer.status_code == 404
    assert "location" not in answer.headers


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("GET", "/encode", "POST"),
        ("DELETE", "/livez", "GET, HEAD"),
        ("PUT", "/factors", "POST, GET, HEAD"),
        ("PUT", "/models/tiny", "GET, HEAD"),
    ],
)
async def test_route_names_the_methods_of_a_path(
    client: httpx.AsyncClient, method: str, path: str, allow: str
) -> None:
    answer = await client.request(method, path)

    assert (answer.status_code, answer.headers["allow"]) == (405, allow)
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["type"] == "urn:rfvae:problem:method-not-allowed"
    assert answer.json()["detail"].startswith(f"this path takes {allow}; got {method}; ")
