"""What the explorer page in Chromium asks of the service, and says when it is not answered."""

import pytest
from playwright.sync_api import Browser, Route, expect

from tests.service.web.page import WAIT_MS, Open, settled, slider

pytestmark = pytest.mark.slow


def test_page_says_that_the_service_stopped_or_is_busy_and_goes_on(open_page: Open) -> None:
    page = open_page()
    page.route("**/decode*", lambda route: route.abort("connectionrefused"))
    slider(page, "scale").press("Home")
    expect(page.locator(".notice.stopped p")).to_contain_text("The service does not answer.")

    def refuse(route: Route) -> None:
        route.fulfill(status=429, headers={"Retry-After": "1"}, json={"detail": "full"})

    page.unroute_all()
    page.route("**/decode*", refuse)
    expect(page.locator(".notice.busy p")).to_have_text(
        "The service is busy: this page asks again in 1 s.", timeout=WAIT_MS
    )
    page.unroute_all()

    expect(page.locator(".notice")).to_have_count(0, timeout=WAIT_MS)
    settled(page)


def test_page_does_not_wait_for_ever_for_a_service_that_hangs(open_page: Open) -> None:
    impatient = """const { timeout } = AbortSignal;
        AbortSignal.timeout = (ms) => timeout.call(AbortSignal, ms / 10);"""
    page = open_page(script=impatient)
    settled(page)
    page.route("**/decode*", lambda route: None)

    slider(page, "scale").press("Home")

    expect(page.get_by_role("status")).to_have_text("Decoding the picture …")
    expect(page.locator(".notice.stopped p")).to_contain_text("The service does not answer.")
    page.unroute_all(behavior="ignoreErrors")
    expect(page.locator(".notice")).to_have_count(0, timeout=WAIT_MS)
    settled(page)


def test_page_changes_the_model_and_explains_one_of_rows(open_page: Open) -> None:
    page = open_page()
    choice = page.get_by_label("Model")
    assert choice.locator("option").all_inner_texts() == [
        "gray · version 2",
        "gray · version 1",
        "color · version 1",
        "rows · version 1",
    ]

    choice.select_option(label="rows · version 1")
    expect(page.locator("main")).to_contain_text(
        "rows is a model of rows of numbers (height, weight, age)"
    )
    choice.select_option(label="color · version 1")
    expect(page.locator(".strip canvas")).to_have_count(2, timeout=WAIT_MS)
    choice.select_option(label="gray · version 1")
    page.wait_for_url("**model=gray&version=1*")


@pytest.mark.parametrize(
    ("address", "wanted"),
    [("#model=nope", "nope"), ("#model=gray&version=7", "gray version 7")],
)
def test_page_goes_on_saying_that_a_model_is_not_served(
    open_page: Open, address: str, wanted: str
) -> None:
    page = open_page(address)
    expect(page.locator(".image-in .facts")).to_contain_text("sample 1")
    sentence = f"{wanted} is not served now; see gray version 2."
    expect(page.locator(".notice.error p")).to_have_text(sentence)

    page.get_by_role("button", name="Take sample 2", exact=True).click()

    expect(page.locator(".notice")).to_have_count(0)


@pytest.mark.parametrize("z", ["1,2", "a,b,c,d"])
def test_page_says_that_it_leaves_out_what_is_no_z(open_page: Open, z: str) -> None:
    page = open_page(f"#model=gray&z={z}")

    expect(page.locator(".notice.error p")).to_have_text(
        "The z of the address is not the 4 numbers that gray needs, so it is left out."
    )
    expect(page.locator(".image-in .facts")).to_contain_text("sample 1")


def test_page_works_behind_a_prefix(open_page: Open, browser: Browser) -> None:
    server_of = open_page(n_strips=0).url.split("/")[2]
    page = browser.new_page()
    asked: list[str] = []

    def pass_on(route: Route) -> None:
        path = route.request.url.split(server_of)[1]
        asked.append(path)
        if path.startswith("/some/prefix/"):
            inner = f"http://{server_of}{path.removeprefix('/some/prefix')}"
            route.fulfill(response=route.fetch(url=inner))
        else:
            route.abort()

    page.route("**/*", pass_on)
    page.goto(f"http://{server_of}/some/prefix/")
    expect(page.locator(".strip canvas")).to_have_count(2, timeout=WAIT_MS)

    assert all(path.startswith("/some/prefix/") for path in asked)
    page.close()
