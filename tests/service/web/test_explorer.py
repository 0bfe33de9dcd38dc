"""The explorer page without a browser: files, types, hashes, addresses, and the paths it calls."""

import base64
import hashlib
import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from service.api.explorer import WEB
from service.auth import hash_of
from tests.service.conftest import StartService

VENDOR = WEB / "vendor"
PAGE = (WEB / "index.html").read_text()
OWN = sorted(path for path in WEB.glob("*") if path.suffix in {".js", ".css", ".html", ".svg"})
NAMESPACE = re.compile(r"http://www\.w3\.org/[\w/]+")  # a name, which nothing fetches
CALL = re.compile(r'(?:json|grid)\((?:to\()?["`](\w+)(/\$\{)?[^\n]*')


def _imports() -> dict[str, str]:
    return dict(re.findall(r'"([@\w/-]+)": "\./(explorer/[\w./-]+)"', PAGE))


def _called() -> Iterator[tuple[str, str]]:
    for found in CALL.finditer((WEB / "api.js").read_text()):
        yield "post" if "posted(" in found[0] else "get", f"/{found[1]}{'/{name}' * bool(found[2])}"


async def test_explorer_is_the_first_page(client: httpx.AsyncClient) -> None:
    page = await client.get("/")

    assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert page.text == PAGE


async def test_explorer_runs_only_its_own_scripts_and_styles(client: httpx.AsyncClient) -> None:
    policy = (await client.get("/")).headers["content-security-policy"].split("; ")

    (inline,) = re.findall(r'<script type="importmap">(.*?)</script>', PAGE, re.S)
    digest = base64.b64encode(hashlib.sha256(inline.encode()).digest()).decode()
    assert policy[0] == "default-src 'none'"
    assert policy[1] == f"script-src 'self' 'sha256-{digest}'"
    assert policy[2] == "style-src 'self'"
    assert not re.search(r"<style|\sstyle=|\son\w+=|<script>", PAGE)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("main.js", "text/javascript; charset=utf-8"),
        ("vendor/preact.mjs", "text/javascript; charset=utf-8"),
        ("explorer.css", "text/css; charset=utf-8"),
        ("icon.svg", "image/svg+xml"),
    ],
)
async def test_explorer_files_have_their_type(
    client: httpx.AsyncClient, name: str, kind: str
) -> None:
    answer = await client.get(f"/explorer/{name}")

    assert (answer.status_code, answer.headers["content-type"]) == (200, kind)
    assert answer.content == (WEB / name).read_bytes()


@pytest.mark.parametrize("known", ["{}", "W/{}", '"other", {}'])
async def test_explorer_file_that_is_unchanged_is_not_sent_again(
    client: httpx.AsyncClient, known: str
) -> None:
    first = await client.get("/explorer/main.js")
    headers = {"If-None-Match": known.format(first.headers["etag"])}
    second = await client.get("/explorer/main.js", headers=headers)

    assert (second.status_code, second.content) == (304, b"")


async def test_explorer_page_and_files_name_only_what_is_served(client: httpx.AsyncClient) -> None:
    named = set(re.findall(r'(?:src|href)="([^"]+)"', PAGE)) | set(_imports().values())
    for module in WEB.glob("*.js"):
        text = module.read_text()
        named |= {f"explorer/{name}" for name in re.findall(r'from "\./([\w.]+)"', text)}
        assert set(re.findall(r'from "([^."][^"]*)"', text)) <= _imports().keys()

    for address in named:
        assert not address.startswith("/"), "it must work behind a prefix"
        assert (await client.get(f"/{address}")).status_code == 200


@pytest.mark.parametrize("path", [*OWN, *VENDOR.glob("*.mjs")], ids=lambda path: path.name)
def test_explorer_takes_nothing_from_elsewhere(path: Path) -> None:
    assert not re.search(r"https?:|[\"'(]//", NAMESPACE.sub("", path.read_text()))


def test_explorer_libraries_are_those_of_npm_and_small() -> None:
    listed = dict(line.split()[::-1] for line in (VENDOR / "SHA256SUMS").read_text().splitlines())

    found = {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in VENDOR.iterdir()
        if path.name != "SHA256SUMS"
    }
    assert found == listed
    assert sum(path.stat().st_size for path in VENDOR.iterdir()) < 60_000


async def test_explorer_calls_only_routes_of_the_api(client: httpx.AsyncClient) -> None:
    paths = (await client.get("/openapi.json")).json()["paths"]

    called = set(_called())
    assert called == {
        ("get", "/models"),
        ("get", "/models/{name}"),
        ("get", "/factors"),
        ("post", "/factors"),
        ("post", "/encode"),
        ("post", "/reconstruct"),
        ("post", "/decode"),
        ("post", "/traverse"),
    }
    assert all(method in paths[path] for method, path in called)


async def test_explorer_opens_without_a_key_that_its_calls_need(
    start_service: StartService,
) -> None:
    async with start_service(api_key_hashes=(hash_of(b"key"),)) as started:
        for address in ("/", "/explorer/main.js", "/explorer/vendor/preact.mjs"):
            assert (await started.client.get(address)).status_code == 200
        assert (await started.client.get("/models")).status_code == 401
