"""Keys asked for by the whole application, and what OpenAPI says of them."""

from typing import Any

import httpx
import pytest

from service.auth import hash_of
from tests.service.conftest import StartService, as_file, picture

HASHES = (hash_of(b"first"), hash_of(b"second"))
PNG = {"Content-Type": "image/png"}
GOOD = as_file(picture())
OPEN = ["/livez", "/readyz", "/startupz", "/v2/health/live", "/v2/health/ready"]
OPEN += ["/metrics", "/", "/docs", "/docs/swagger-ui.css", "/openapi.json"]
OPEN += ["/v2/models/tiny/ready"]


async def test_security_asks_for_a_key_before_it_reads(start_service: StartService) -> None:
    async def never_read() -> object:
        pytest.fail("the body was read")
        yield b""

    async with start_service(api_key_hashes=HASHES) as started:
        answer = await started.client.post("/encode", content=never_read(), headers=PNG)

    assert (answer.status_code, answer.headers["www-authenticate"]) == (401, 'Bearer realm="rfvae"')
    assert answer.json()["type"] == "urn:rfvae:problem:unauthorized"


@pytest.mark.parametrize(
    "headers", [{"Authorization": "Bearer first"}, {"X-API-Key": "second"}], ids=["bearer", "own"]
)
async def test_security_lets_each_key_in(
    start_service: StartService, headers: dict[str, str]
) -> None:
    async with start_service(api_key_hashes=HASHES) as started:
        answer = await started.client.post("/encode", content=GOOD, headers={**PNG, **headers})

    assert answer.status_code == 200


@pytest.mark.parametrize(
    "path", ["/factors", "/models", "/models/tiny", "/none", "/v2/models/tiny"]
)
async def test_security_asks_for_a_key_everywhere_else(
    start_service: StartService, path: str
) -> None:
    async with start_service(api_key_hashes=HASHES) as started:
        answer = await started.client.get(path, headers={"X-API-Key": "third"})

    assert answer.status_code == 401
    assert "third" not in answer.text


async def test_security_exempts_what_is_set(start_service: StartService) -> None:
    async with start_service(api_key_hashes=HASHES) as started:
        statuses = {path: (await started.client.get(path)).status_code for path in OPEN}

    assert set(statuses.values()) <= {200, 307}


async def test_security_exempts_nothing_when_nothing_is_set(start_service: StartService) -> None:
    async with start_service(api_key_hashes=HASHES, auth_exempt=()) as started:
        statuses = {(await started.client.get(path)).status_code for path in OPEN}

    assert statuses == {401}


async def test_security_asks_for_nothing_when_switched_off(start_service: StartService) -> None:
    async with start_service(api_key_hashes=HASHES, auth="off") as started:
        answer = await started.client.get("/models")
        document = (await started.client.get("/openapi.json")).json()

    assert answer.status_code == 200
    assert "securitySchemes" not in document["components"]


@pytest.mark.parametrize(
    ("settings", "status"), [({}, 421), ({"auth": "off"}, 200), ({"api_key_hashes": HASHES}, 401)]
)
async def test_security_answers_to_the_name_of_a_web_site_only_where_it_was_decided_on(
    start_service: StartService, settings: dict[str, Any], status: int
) -> None:
    async with start_service(**settings) as started:
        answer = await started.client.get("/models", headers={"Host": "evil.example:8000"})

    assert answer.status_code == status


async def test_security_counts_who_was_turned_away(start_service: StartService) -> None:
    async with start_service(api_key_hashes=HASHES) as started:
        await started.client.get("/models")
        metrics = (await started.client.get("/metrics")).text

    assert 'rfvae_rejected_total{reason="unauthorized"} 1.0' in metrics


async def test_openapi_says_which_operations_need_a_key(start_service: StartService) -> None:
    async with start_service(api_key_hashes=HASHES) as started:
        document = (await started.client.get("/openapi.json")).json()
        again = (await started.client.get("/openapi.json")).json()

    assert document == again
    schemes = document["components"]["securitySchemes"]
    assert (schemes["bearer"]["scheme"], schemes["apiKey"]["name"]) == ("bearer", "X-API-Key")
    encode = document["paths"]["/encode"]["post"]
    assert encode["security"] == [{"bearer": []}, {"apiKey": []}]
    assert encode["responses"]["401"]["content"] == encode["responses"]["400"]["content"]
    infer = document["paths"]["/v2/models/{model}/infer"]["post"]
    server = document["paths"]["/v2"]["get"]
    for described in (infer, server):
        assert described["responses"]["401"]["content"] == infer["responses"]["400"]["content"]
    livez = document["paths"]["/livez"]["get"]
    assert (livez["security"], "401" in livez["responses"]) == ([], False)


async def test_security_is_absent_by_default(client: httpx.AsyncClient) -> None:
    assert (await client.get("/models")).status_code == 200
