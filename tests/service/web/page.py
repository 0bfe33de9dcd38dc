"""The explorer page as a person in Chromium uses it: what the tests of its parts share."""

from collections.abc import Callable, Sequence
from pathlib import Path

from playwright.sync_api import Locator, Page, Route, expect

WAIT_MS = 30_000
AS_TEXT = "canvas => canvas.toDataURL()"
SILENT = {"RFVAE_ACCESS_LOG": "none"}  # nobody reads the log, and a pipe that is full stops it

Open = Callable[..., Page]


def pixels(page: Page) -> str:
    """The result as text."""
    canvas = page.locator(".result canvas")
    return str(canvas.evaluate(AS_TEXT))


def slider(page: Page, name: str) -> Locator:
    """That of the dimension of this name."""
    return page.get_by_role("slider", name=name)


def hold(page: Page, address: str) -> list[Route]:
    """Keeps back what the page asks there next, in this list."""
    held: list[Route] = []
    page.route(address, lambda route: held.append(route), times=1)
    return held


def drop(page: Page, *, files: Sequence[Path] = (), text: str = "") -> None:
    """Drops files of this machine, or a text, as a person does."""
    item = [{"mimeType": "text/plain", "data": text}] if text else []
    data = {"items": item, "files": [str(path) for path in files], "dragOperationsMask": 1}
    session = page.context.new_cdp_session(page)
    for kind in ("dragEnter", "dragOver", "drop"):
        event = {"type": kind, "x": 600, "y": 400, "data": data}
        session.send("Input.dispatchDragEvent", event)


def settled(page: Page) -> None:
    """Waits until the picture of the last move is there."""
    expect(page.get_by_role("button", name="Download PNG")).to_be_enabled(timeout=WAIT_MS)
