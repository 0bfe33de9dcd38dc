"""API keys in the explorer page in Chromium."""

from pathlib import Path

import pytest
from playwright.sync_api import expect

from service.auth import hash_of
from tests.service.process import serve
from tests.service.web.page import SILENT, WAIT_MS, Open

pytestmark = pytest.mark.slow

KEY = "rfvae_key-for-a-test"
HASH = hash_of(KEY.encode())


def test_page_asks_for_a_key_and_takes_the_right_one(open_page: Open, models: Path) -> None:
    with serve(models, RFVAE_AUTH="on", RFVAE_API_KEY_HASHES=HASH, **SILENT) as guarded:
        page = open_page(url=guarded.url, n_strips=0)
        for key, sentence in (("wrong", "asks for an"), (KEY, "does not know this")):
            notice = page.locator(".notice.key")
            expect(notice).to_contain_text(f"service {sentence} API key.", timeout=WAIT_MS)
            expect(page.get_by_label("API key")).to_be_focused()
            page.get_by_label("API key").fill(key)
            page.get_by_role("button", name="Use it").click()

        expect(page.locator(".strip canvas")).to_have_count(2, timeout=WAIT_MS)
        expect(page.locator(".notice")).to_have_count(0)
        expect(page.get_by_role("heading", name="Latent explorer")).to_be_focused()


def test_page_refuses_a_key_that_cannot_be_sent(open_page: Open, models: Path) -> None:
    earlier = "sessionStorage.setItem('rfvae.key', 'schlüssel')"
    with serve(models, RFVAE_AUTH="on", RFVAE_API_KEY_HASHES=HASH, **SILENT) as guarded:
        page = open_page(url=guarded.url, n_strips=0, script=earlier)
        expect(page.locator(".notice.key")).to_contain_text("asks for an API key", timeout=WAIT_MS)
        page.get_by_label("API key").fill("schlüssel“x”")
        page.get_by_role("button", name="Use it").click()
        expect(page.locator(".notice.key")).to_contain_text("holds characters that no key has")

        page.get_by_label("API key").fill(KEY)
        page.get_by_role("button", name="Use it").click()

        expect(page.locator(".strip canvas")).to_have_count(2, timeout=WAIT_MS)


def test_page_works_where_the_browser_denies_storage(open_page: Open, models: Path) -> None:
    deny = """for (const name of ["localStorage", "sessionStorage"]) {
        Object.defineProperty(window, name, { get() { throw new DOMException("denied"); } });
    }"""
    with serve(models, RFVAE_AUTH="on", RFVAE_API_KEY_HASHES=HASH, **SILENT) as guarded:
        page = open_page("", url=guarded.url, n_strips=0, script=deny)
        page.get_by_label("API key").fill(KEY)
        page.get_by_role("button", name="Use it").click()

        expect(page.locator(".strip canvas")).to_have_count(2, timeout=WAIT_MS)
