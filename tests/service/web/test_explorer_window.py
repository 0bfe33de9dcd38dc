"""The explorer page in Chromium: windows of all sizes, the focus, and the reader's colors."""

import pytest
from playwright.sync_api import expect

from tests.service.web.page import WAIT_MS, Open, drop, settled, slider

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("width", [1280, 800, 390])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_page_fits_its_window(open_page: Open, width: int, scheme: str) -> None:
    page = open_page()
    page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
    page.set_viewport_size({"width": width, "height": 844})

    overflow = page.evaluate("document.documentElement.scrollWidth - innerWidth")

    assert overflow <= 0


def test_page_fits_a_narrow_window_with_a_long_name(open_page: Open) -> None:
    page = open_page()
    page.set_viewport_size({"width": 375, "height": 700})
    overflow = "document.documentElement.scrollWidth - innerWidth"

    page.get_by_role("button", name="Rename x position").click()
    assert page.evaluate(overflow) <= 0
    page.keyboard.press("Control+A")
    page.keyboard.type("W" * 40)
    page.keyboard.press("Enter")

    expect(slider(page, "W" * 40)).to_be_visible()
    assert page.evaluate(overflow) <= 0


def test_page_hides_no_control_that_has_the_focus(open_page: Open) -> None:
    page = open_page()
    page.set_viewport_size({"width": 375, "height": 700})
    page.get_by_role("button", name="Copy as curl").click()
    page.locator("summary").click()
    expect(page.locator(".strip canvas")).to_have_count(4, timeout=WAIT_MS)
    slider(page, "z3").focus()

    for _ in range(12):
        page.keyboard.press("Shift+Tab")
        hidden = page.evaluate("""() => {
            const shown = document.querySelector(".shown");
            const [focus, over] = [document.activeElement, shown].map(
                (one) => one.getBoundingClientRect());
            return !shown.contains(document.activeElement) && focus.top < over.bottom;
        }""")
        assert not hidden
    assert page.locator(".shown").evaluate("one => one.offsetHeight") < 150
    page.set_viewport_size({"width": 375, "height": 340})
    expect(page.locator(".shown")).to_have_css("position", "static")


@pytest.mark.parametrize(("width", "height"), [(640, 400), (768, 1024), (1024, 768)])
def test_page_keeps_the_picture_in_sight_of_the_last_slider(
    open_page: Open, width: int, height: int
) -> None:
    page = open_page()
    page.set_viewport_size({"width": width, "height": height})
    page.locator("summary").click()
    expect(page.locator(".strip canvas")).to_have_count(4, timeout=WAIT_MS)

    slider(page, "z3").focus()
    slider(page, "z3").scroll_into_view_if_needed()

    expect(page.locator(".result canvas")).to_be_in_viewport(ratio=1)
    expect(slider(page, "z3")).to_be_in_viewport(ratio=1)


@pytest.mark.parametrize("end", ["0", "document.body.scrollHeight"])
def test_page_shows_a_notice_wherever_it_is_scrolled_to(open_page: Open, end: str) -> None:
    page = open_page("#model=nope")
    page.set_viewport_size({"width": 375, "height": 700})

    page.evaluate(f"scrollTo(0, {end})")

    expect(page.locator(".notice.error p")).to_be_in_viewport(ratio=1)


def test_page_gives_the_focus_back_when_a_notice_is_closed(open_page: Open) -> None:
    page = open_page()
    slider(page, "scale").focus()
    drop(page, text="no file")

    page.get_by_role("button", name="Close").click()

    expect(slider(page, "scale")).to_be_focused()


def test_page_shows_its_marks_in_the_colors_of_the_reader(open_page: Open) -> None:
    page = open_page()
    settled(page)
    page.emulate_media(forced_colors="active")

    color = "(one) => getComputedStyle(one).backgroundColor"
    ground = page.locator("body").evaluate(color)
    pressed = page.locator(".samples [aria-pressed=true]").evaluate(color)

    for mark in (".bar span", ".mu", ".band"):
        assert page.locator(mark).first.evaluate(color) != ground
    assert pressed != page.locator(".samples [aria-pressed=false]").first.evaluate(color)
