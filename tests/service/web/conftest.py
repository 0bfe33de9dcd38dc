"""Chromium before a real server, for each file of tests; slow, as a browser is."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.service.process import ServerProcess, serve
from tests.service.tiny_model import read_manifest, write_manifest, write_tiny_model
from tests.service.tiny_rows import write_tiny_rows
from tests.service.web.page import SILENT, WAIT_MS, Open

IN_A_CONTAINER = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Gray in two versions, color with a closed dimension, and rows of numbers."""
    root = tmp_path_factory.mktemp("models")
    write_tiny_model(root / "gray" / "1", name="gray", version=1)
    write_tiny_model(root / "gray" / "2", name="gray", version=2, seed=2)
    color = write_tiny_model(root / "color" / "1", name="color", channels=3)
    manifest = read_manifest(color)
    closed = manifest["dimensions"][1]
    closed["mu_quantiles"] = dict.fromkeys(closed["mu_quantiles"], closed["mu_mean"])
    write_manifest(color, manifest)
    return write_tiny_rows(root)


@pytest.fixture(scope="module")
def server(models: Path) -> Iterator[ServerProcess]:
    with serve(models, RFVAE_DEFAULT_MODEL="gray", **SILENT) as process:
        yield process


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.fail("these tests need Chromium: `apt-get install chromium`, or `make test-slow`")
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=chromium, args=IN_A_CONTAINER)
        yield started
        started.close()


@pytest.fixture
def open_page(browser: Browser, server: ServerProcess) -> Iterator[Open]:
    """Opens the page and waits until it is whole; at the end nothing must have gone wrong."""
    errors: list[str] = []
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    context.set_default_timeout(WAIT_MS)
    context.on("weberror", lambda error: errors.append(str(error.error)))

    def open_it(
        address: str = "", *, n_strips: int = 2, url: str = server.url, script: str = ""
    ) -> Page:
        page = context.new_page()
        page.add_init_script(script)
        page.goto(f"{url}/{address}")
        if n_strips:
            expect(page.locator(".strip canvas")).to_have_count(n_strips, timeout=WAIT_MS)
        return page

    yield open_it
    context.close()
    assert errors == []
