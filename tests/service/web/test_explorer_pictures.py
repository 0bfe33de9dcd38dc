"""Pictures that go into the explorer page in Chromium, and those that it gives."""

from pathlib import Path

import pytest
from playwright.sync_api import FilePayload, Request, expect

from tests.service.process import ServerProcess
from tests.service.web.page import AS_TEXT, Open, drop, hold, settled, slider

pytestmark = pytest.mark.slow


def test_page_takes_a_file_and_repeats_what_is_wrong_with_one(open_page: Open) -> None:
    page = open_page("#model=color&version=1")
    settled(page)
    wrong = FilePayload(name="notes.png", mimeType="image/png", buffer=b"no picture")
    heading = page.locator("h1").screenshot()
    right = FilePayload(name="heading.png", mimeType="image/png", buffer=heading)

    page.get_by_label("Choose a file").set_input_files([wrong])
    expect(page.locator(".notice.error p")).to_contain_text("got 10 bytes of text")
    page.get_by_label("Choose a file").set_input_files([right])

    expect(page.locator(".image-in .facts")).to_contain_text("heading.png")
    expect(page.locator(".image-in .facts")).to_contain_text("resized")
    expect(page.locator(".notice")).to_have_count(0)


def test_page_says_which_files_it_reads(open_page: Open) -> None:
    page = open_page()
    text = FilePayload(name="notes.txt", mimeType="text/plain", buffer=b"no picture")

    page.get_by_label("Choose a file").set_input_files([text])

    expect(page.locator(".notice.error p")).to_have_text(
        "notes.txt (text/plain) cannot be read: this page reads PNG, JPEG, WebP and BMP. "
        "Save the picture as one of these and choose that file."
    )


def test_page_shows_a_file_to_another_model_after_it_was_deleted(
    open_page: Open, tmp_path: Path
) -> None:
    page = open_page()
    heading = tmp_path / "heading.png"
    heading.write_bytes(page.locator("h1").screenshot())
    page.get_by_label("Choose a file").set_input_files(heading)
    expect(page.locator(".image-in .facts")).to_contain_text("heading.png")

    heading.unlink()
    page.get_by_label("Model").select_option(label="color · version 1")

    page.wait_for_url("**model=color*")
    expect(page.locator(".image-in .facts")).to_contain_text("heading.png")
    expect(page.locator(".notice")).to_have_count(0)


def test_page_says_which_of_several_files_it_took(open_page: Open, tmp_path: Path) -> None:
    page = open_page()
    files = [tmp_path / f"{name}.png" for name in ("one", "two", "three")]
    for file in files:
        file.write_bytes(page.locator("h1").screenshot())

    drop(page, files=files)

    expect(page.locator(".image-in .facts")).to_contain_text("one.png")
    expect(page.locator(".notice.error p")).to_have_text(
        "One picture at a time: of the 3 files one.png was taken."
    )


def test_page_says_that_a_dropped_text_is_no_file_and_goes_on_asking(open_page: Open) -> None:
    page = open_page()
    page.route("**/decode*", lambda route: route.fulfill(status=401))
    slider(page, "scale").press("End")
    expect(page.get_by_label("API key")).to_be_focused()

    drop(page, text="https://example.org/picture.png")

    expect(page.locator(".notice.error p")).to_have_text(
        "This was no file. Save the picture and drop the file that holds it."
    )
    page.unroute_all()
    page.get_by_label("API key").fill("rfvae_key-for-a-test")
    page.keyboard.press("Enter")
    expect(slider(page, "scale")).to_be_focused()


def test_page_says_that_a_file_cannot_be_read(open_page: Open, tmp_path: Path) -> None:
    page = open_page()
    (folder := tmp_path / "folder.png").mkdir()

    drop(page, files=[folder])
    expect(page.locator(".notice.error p")).to_have_text(
        "folder.png cannot be read. Choose a file again."
    )

    slider(page, "scale").press("End")  # nothing waits for the file
    expect(page.locator(".value").nth(1)).to_have_text("2.30")
    settled(page)


def test_page_takes_no_sample_of_the_former_model(open_page: Open) -> None:
    page = open_page()
    settled(page)
    held = hold(page, "**/decode*")
    with page.expect_request("**/decode*"):
        page.get_by_role("button", name="Draw others").click()

    page.get_by_label("Model").select_option(label="gray · version 1")
    expect(page.locator(".samples li")).to_have_count(0)
    held[0].continue_()

    page.wait_for_url("**model=gray&version=1*sample=0*")
    original = page.get_by_role("img", name="original of sample 1")
    first = page.get_by_role("button", name="Take sample 1", exact=True).locator("canvas")
    assert original.evaluate(AS_TEXT) == first.evaluate(AS_TEXT)


def test_page_gives_the_picture_and_its_command(open_page: Open, server: ServerProcess) -> None:
    page = open_page()
    settled(page)

    with page.expect_download() as download:
        page.get_by_role("button", name="Download PNG").click()
    page.get_by_role("button", name="Copy as curl").click()

    assert download.value.suggested_filename == "gray-2.png"
    assert download.value.path().read_bytes().startswith(b"\x89PNG")
    command = page.locator(".curl textarea").input_value()
    assert command.startswith(f"curl -s '{server.url}/decode?model=gray&version=2&dims=all' -H")


def test_page_that_plays_gives_the_exact_picture_of_where_it_is_stopped(open_page: Open) -> None:
    page = open_page()
    settled(page)
    held = hold(page, "**/decode*")
    asked: list[Request] = []
    page.on("request", lambda request: asked.append(request))
    with page.expect_request("**/decode*"):
        page.locator(".dimension").first.get_by_role("button", name="Play x position").click()

    with page.expect_download() as download:
        page.get_by_role("button", name="Download PNG").click()
        held[0].continue_()

    expect(page.get_by_role("button", name="Stop x position")).to_have_count(0)
    newest = [request for request in asked if "/decode" in request.url][-1]
    assert download.value.path().read_bytes() == page.request.fetch(newest).body()


def test_page_that_plays_stops_for_its_command(open_page: Open) -> None:
    page = open_page()
    settled(page)
    page.locator(".dimension").first.get_by_role("button", name="Play x position").click()

    page.get_by_role("button", name="Copy as curl").click()

    expect(page.get_by_role("button", name="Stop x position")).to_have_count(0)
    expect(page.locator(".curl textarea")).to_be_visible()


def test_page_shows_the_sample_of_a_link_after_an_image_of_ones_own(open_page: Open) -> None:
    page = open_page()
    heading = page.locator("h1").screenshot()
    own = FilePayload(name="heading.png", mimeType="image/png", buffer=heading)
    page.get_by_label("Choose a file").set_input_files([own])
    expect(page.locator(".image-in .facts")).to_contain_text("heading.png")

    page.evaluate("location.hash = 'model=gray&version=1&sample=3'")

    expect(page.locator(".image-in .facts")).to_contain_text("sample 4")
    page.wait_for_url("**model=gray&version=1*sample=3*")
