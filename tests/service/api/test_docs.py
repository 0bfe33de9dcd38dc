"""`/docs` works offline, and the OpenAPI document says what the routes really take."""

import base64
import hashlib
import re
from typing import Any

import httpx
import pytest

from service.api.negotiation import JSON
from service.api.reading import IMAGE_FORMS, LATENT_FORMS
from service.api.rendering import GRID_TYPES, IMAGE_TYPES
from tests.service.conftest import as_file, picture


@pytest.fixture
async def document(client: httpx.AsyncClient) -> dict[str, Any]:
    answer = await client.get("/openapi.json")
    parsed: dict[str, Any] = answer.json()
    return parsed


def _references(node: Any) -> set[str]:
    if isinstance(node, dict):
        own = {node["$ref"]} if isinstance(node.get("$ref"), str) else set()
        return own.union(*(_references(value) for value in node.values()))
    return set().union(*(_references(value) for value in node)) if isinstance(node, list) else set()


async def test_docs_take_nothing_from_elsewhere(client: httpx.AsyncClient) -> None:
    page = await client.get("/docs")

    assert page.headers["content-type"].startswith("text/html")
    assert "http" not in page.text.replace("http-equiv", "")
    addresses = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert len(addresses) == 3
    for address in addresses:
        assert (await client.get(f"/{address}")).status_code == 200


async def test_docs_run_and_load_only_what_is_theirs(client: httpx.AsyncClient) -> None:
    page = await client.get("/docs")
    (script,) = re.findall(r"<script>(.*?)</script>", page.text, re.S)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()

    policy = page.headers["content-security-policy"].split("; ")
    assert policy == [
        "default-src 'none'",
        f"script-src 'self' 'sha256-{digest}'",
        "style-src 'self' 'unsafe-inline'",
        "img-src 'self' data: blob:",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    ]
    assert page.headers["x-frame-options"] == "DENY"
    assert page.headers["referrer-policy"] == "no-referrer"


@pytest.mark.parametrize("path", ["/docs", "/docs/swagger-ui.css", "/livez", "/metrics", "/none"])
async def test_answers_are_of_the_type_that_they_say(client: httpx.AsyncClient, path: str) -> None:
    answer = await client.get(path)

    assert answer.headers.get_list("x-content-type-options") == ["nosniff"]


async def test_openapi_has_every_route_of_the_contract(document: dict[str, Any]) -> None:
    operations = {
        (method, path) for path, methods in document["paths"].items() for method in methods
    }

    assert operations == {
        ("post", "/encode"),
        ("post", "/factors"),
        ("get", "/factors"),
        ("post", "/decode"),
        ("post", "/traverse"),
        ("post", "/reconstruct"),
        ("post", "/interpolate"),
        ("post", "/swap"),
        ("get", "/models"),
        ("get", "/models/{name}"),
        ("get", "/v2"),
        ("get", "/v2/health/live"),
        ("get", "/v2/health/ready"),
        ("get", "/v2/models/{model}"),
        ("get", "/v2/models/{model}/ready"),
        ("post", "/v2/models/{model}/infer"),
        ("get", "/v2/models/{model}/versions/{version}"),
        ("get", "/v2/models/{model}/versions/{version}/ready"),
        ("post", "/v2/models/{model}/versions/{version}/infer"),
        ("get", "/livez"),
        ("get", "/readyz"),
        ("get", "/startupz"),
        ("get", "/metrics"),
    }


async def test_openapi_references_all_lead_somewhere(document: dict[str, Any]) -> None:
    schemas = {f"#/components/schemas/{name}" for name in document["components"]["schemas"]}

    assert _references(document) <= schemas


async def test_openapi_operations_have_unique_ids_and_a_summary(document: dict[str, Any]) -> None:
    operations = [
        operation for methods in document["paths"].values() for operation in methods.values()
    ]
    identifiers = [operation["operationId"] for operation in operations]

    assert len(set(identifiers)) == len(identifiers)
    assert all(operation["summary"] and operation["description"] for operation in operations)


async def test_openapi_lists_the_forms_that_are_read_and_written(document: dict[str, Any]) -> None:
    def forms(path: str) -> tuple[set[str], set[str]]:
        operation = document["paths"][path]["post"]
        taken = operation["requestBody"]["content"]
        return set(taken), set(operation["responses"]["200"]["content"])

    assert forms("/encode") == (set(IMAGE_FORMS), {JSON, "application/x-npy"})
    assert forms("/decode") == (set(LATENT_FORMS), set(IMAGE_TYPES))
    assert forms("/traverse") == (set(IMAGE_FORMS), set(GRID_TYPES))


async def test_openapi_lists_the_parameters_of_encode(document: dict[str, Any]) -> None:
    parameters = document["paths"]["/encode"]["post"]["parameters"]

    assert [(parameter["in"], parameter["name"]) for parameter in parameters] == [
        ("query", "model"),
        ("query", "version"),
        ("query", "dims"),
        ("query", "top_k"),
        ("query", "threshold"),
        ("header", "X-Request-Timeout-Ms"),
    ]
    assert all(parameter["description"] for parameter in parameters)


@pytest.mark.parametrize(
    ("path", "schema"),
    [
        ("/encode", "EncodeBody"),
        ("/factors", "ImagesBody"),
        ("/decode", "DecodeBody"),
        ("/traverse", "TraverseBody"),
        ("/reconstruct", "ImagesBody"),
        ("/interpolate", "InterpolateBody"),
        ("/swap", "SwapBody"),
    ],
)
async def test_openapi_has_examples_that_work_beside_the_defaults_that_the_page_fills_in(
    client: httpx.AsyncClient, document: dict[str, Any], path: str, schema: str
) -> None:
    operation = document["paths"][path]["post"]
    forms = operation["requestBody"]["content"][JSON]["schema"]
    assert f"#/components/schemas/{schema}" in str(forms)
    (example,) = document["components"]["schemas"][schema]["examples"]
    filled_in = {
        parameter["name"]: parameter["schema"]["default"]
        for parameter in operation["parameters"]
        if parameter["schema"].get("default") is not None
    }

    answer = await client.post(path, params=filled_in, json=example)

    assert answer.status_code == 200, answer.text


async def test_openapi_documents_the_headers_of_its_answers(
    client: httpx.AsyncClient, document: dict[str, Any]
) -> None:
    for path in ("/encode", "/traverse"):
        responses = document["paths"][path]["post"]["responses"]
        answer = await client.post(
            path, content=as_file(picture()), headers={"Content-Type": "image/png"}
        )
        assert {"x-request-id", "server-timing", "x-model", "x-model-version"} <= {*answer.headers}
        sent = {name for name in answer.headers if name.startswith(("x-", "server-"))}
        documented = {name.lower() for name in responses["200"]["headers"]}
        assert sent - {"x-content-type-options"} <= documented
        assert "Retry-After" in responses["429"]["headers"]


async def test_openapi_says_that_files_of_a_form_are_files(document: dict[str, Any]) -> None:
    body = document["paths"]["/swap"]["post"]["requestBody"]
    form = body["content"]["multipart/form-data"]["schema"]
    assert form["properties"]["images"]["items"] == {"type": "string", "format": "binary"}
    assert body["required"]
    assert not document["paths"]["/traverse"]["post"]["requestBody"]["required"]
