"""Dimensions of the explorer page in Chromium: moved, swept, named, unfolded."""

from collections.abc import Callable

import pytest
from playwright.sync_api import Page, Route, expect

from tests.service.web.page import WAIT_MS, Open, pixels, settled, slider

pytestmark = pytest.mark.slow


def test_page_shows_an_image_and_the_dimensions_in_order(open_page: Open) -> None:
    page = open_page()
    page.wait_for_load_state("networkidle")  # a reload ends requests, which is no complaint
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("requestfailed", lambda request: complaints.append(request.url))
    page.reload()
    expect(page.locator(".strip canvas")).to_have_count(2, timeout=WAIT_MS)

    labels = page.locator(".dimensions > .dimension label")
    expect(labels).to_have_text(["x position", "scale"])
    expect(page.locator(".dimensions > .dimension .facts").first).to_have_text(
        "On one typical image, from left to right: grows 2.0 times as large."
    )
    expect(page.get_by_role("heading")).to_have_text(
        ["Latent explorer", "Image in", "Samples", "Result", "Dimensions"]
    )
    expect(page.locator(".rebuilt figcaption")).to_have_text(
        ["original", "reconstruction", "difference"]
    )
    expect(page.locator(".image-in .facts")).to_contain_text("novelty percentile")
    expect(page.locator(".corner")).to_contain_text("infer")
    expect(page.locator("summary")).to_have_text("2 nuisance dimensions")
    assert complaints == []


def test_page_moves_a_dimension_by_keys_and_the_address_brings_it_back(open_page: Open) -> None:
    page = open_page()
    settled(page)
    before = pixels(page)

    slider(page, "x position").focus()
    page.keyboard.press("End")
    page.keyboard.press("ArrowLeft")
    page.wait_for_url("**,2.7885,*")  # comes later than the first frame that shows the move
    settled(page)
    moved = pixels(page)
    assert moved != before
    expect(page.locator(".value").first).to_have_text("2.79")
    again = open_page(f"#{page.url.split('#')[1]}")
    settled(again)
    assert pixels(again) == moved

    page.keyboard.press("Delete")
    page.wait_for_url(lambda url: ",2.7885," not in url)
    settled(page)
    assert pixels(page) == before


def test_page_shows_a_frame_before_the_service_answers(open_page: Open) -> None:
    page = open_page()
    settled(page)
    before = pixels(page)
    page.route("**/decode*", lambda route: None)

    page.locator(".strip").first.click(position={"x": 4, "y": 4})

    assert pixels(page) != before
    expect(page.get_by_role("button", name="Download PNG")).to_be_disabled()
    page.unroute_all(behavior="ignoreErrors")


def test_page_asks_once_at_a_time_and_then_for_the_newest(open_page: Open) -> None:
    page = open_page()
    settled(page)
    held: list[Route] = []
    asked: list[list[float]] = []

    def hold_the_first(route: Route) -> None:
        asked.append(route.request.post_data_json["latents"][0])
        if len(asked) == 1:
            held.append(route)
        else:
            route.continue_()

    page.route("**/decode*", hold_the_first)
    with page.expect_request("**/decode*"):
        slider(page, "scale").press("End")
    for _ in range(5):
        slider(page, "scale").press("ArrowLeft")
    assert len(held) == 1
    held[0].continue_()
    settled(page)

    assert [z[0] for z in asked] == pytest.approx([2.3, 2.3 - 5 * 4.6 / 400])


def test_page_keeps_names_and_unfolds_nuisance_dimensions(open_page: Open) -> None:
    page = open_page()
    page.get_by_role("button", name="Rename scale").click()
    page.keyboard.type("size")
    page.keyboard.press("Enter")
    page.reload()
    expect(slider(page, "size")).to_be_visible(timeout=WAIT_MS)

    page.locator("summary").click()

    expect(page.locator(".strip canvas")).to_have_count(4, timeout=WAIT_MS)


def test_page_folds_nuisance_dimensions_when_the_address_changes(open_page: Open) -> None:
    page = open_page()
    page.locator("summary").click()
    expect(page.locator(".strip canvas")).to_have_count(4, timeout=WAIT_MS)

    page.evaluate("location.hash = 'sample=2'")

    expect(page.locator("details")).to_have_js_property("open", False)
    page.locator("summary").click()
    expect(page.locator(".strip canvas")).to_have_count(4, timeout=WAIT_MS)


@pytest.mark.parametrize(("key", "name"), [("Escape", "scale"), ("Enter", "size")])
def test_page_ends_renaming_by_key(open_page: Open, key: str, name: str) -> None:
    page = open_page()
    page.get_by_role("button", name="Rename scale").click()
    page.keyboard.press("Control+A")
    page.keyboard.type("size")

    page.keyboard.press(key)

    expect(page.get_by_role("button", name=f"Rename {name}", exact=True)).to_be_focused()
    expect(slider(page, name)).to_be_visible()


def test_page_has_nothing_to_move_in_a_closed_dimension(open_page: Open) -> None:
    page = open_page("#model=color")

    page.locator("summary").click()

    expect(page.locator(".strip canvas")).to_have_count(3, timeout=WAIT_MS)
    row = page.locator("details .dimension").first
    expect(row).to_contain_text("Closed: always 0.25, whatever the image.")
    expect(row.get_by_role("slider")).to_have_count(0)
    expect(row.get_by_role("button", name="Play")).to_have_count(0)


def test_page_plays_a_dimension_until_it_is_stopped(open_page: Open) -> None:
    page = open_page()
    settled(page)
    value = page.locator(".value").first
    before = value.inner_text()

    page.locator(".dimension").first.get_by_role("button", name="Play x position").click()
    assert page.locator(".dimensions").get_by_role("status").count() == 0, "it would be read out"
    expect(value).not_to_have_text(before)
    page.locator(".dimension").first.get_by_role("button", name="Stop x position").click()

    settled(page)


def _press_slider(page: Page) -> None:
    slider(page, "scale").hover()
    page.mouse.down()


@pytest.mark.parametrize(
    "act",
    [
        _press_slider,
        lambda page: slider(page, "x position").press("Home"),
        lambda page: page.get_by_role("button", name="Reset all").click(),
        lambda page: page.get_by_role("button", name="Take sample 2", exact=True).click(),
    ],
    ids=["hold", "key", "reset", "sample"],
)
def test_page_stops_to_play_when_the_user_does_something(
    open_page: Open, act: Callable[[Page], None]
) -> None:
    page = open_page()
    settled(page)
    page.locator(".dimension").nth(1).get_by_role("button", name="Play scale").click()

    act(page)

    expect(page.get_by_role("button", name="Stop scale")).to_have_count(0)
