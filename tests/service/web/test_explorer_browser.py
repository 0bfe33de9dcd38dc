"""The explorer page in Chromium, before a real server; slow, as a browser is."""

import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from playwright.sync_api import (
    Browser,
    FilePayload,
    Locator,
    Page,
    Route,
    expect,
    sync_playwright,
)

from service.auth import hash_of
from tests.service.process import ServerProcess, serve
from tests.service.tiny_model import read_manifest, write_manifest, write_tiny_model
from tests.service.tiny_rows import write_tiny_rows

pytestmark = pytest.mark.slow

IN_A_CONTAINER = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
WAIT_MS = 30_000
KEY = "rfvae_key-for-a-test"
HASH = hash_of(KEY.encode())
AS_TEXT = "canvas => canvas.toDataURL()"
SILENT = {"RFVAE_ACCESS_LOG": "none"}  # nobody reads the log, and a pipe that is full stops it

Open = Callable[..., Page]


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


def _pixels(page: Page) -> str:
    """The result as text."""
    canvas = page.locator(".result canvas")
    return str(canvas.evaluate(AS_TEXT))


def _slider(page: Page, name: str) -> Locator:
    return page.get_by_role("slider", name=name)


def _hold(page: Page, address: str) -> list[Route]:
    """Keeps back what the page asks there next, in this list."""
    held: list[Route] = []
    page.route(address, lambda route: held.append(route), times=1)
    return held


def _drop(page: Page, *, files: Sequence[Path] = (), text: str = "") -> None:
    """Drops files of this machine, or a text, as a person does."""
    item = [{"mimeType": "text/plain", "data": text}] if text else []
    data = {"items": item, "files": [str(path) for path in files], "dragOperationsMask": 1}
    session = page.context.new_cdp_session(page)
    for kind in ("dragEnter", "dragOver", "drop"):
        event = {"type": kind, "x": 600, "y": 400, "data": data}
        session.send("Input.dispatchDragEvent", event)


def _settled(page: Page) -> None:
    expect(page.get_by_role("button", name="Download PNG")).to_be_enabled(timeout=WAIT_MS)


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
    _settled(page)
    before = _pixels(page)

    _slider(page, "x position").focus()
    page.keyboard.press("End")
    page.keyboard.press("ArrowLeft")
    page.wait_for_url("**,2.7885,*")  # comes later than the first frame that shows the move
    _settled(page)
    moved = _pixels(page)
    assert moved != before
    expect(page.locator(".value").first).to_have_text("2.79")
    again = open_page(f"#{page.url.split('#')[1]}")
    _settled(again)
    assert _pixels(again) == moved

    page.keyboard.press("Delete")
    page.wait_for_url(lambda url: ",2.7885," not in url)
    _settled(page)
    assert _pixels(page) == before


def test_page_shows_a_frame_before_the_service_answers(open_page: Open) -> None:
    page = open_page()
    _settled(page)
    before = _pixels(page)
    page.route("**/decode*", lambda route: None)

    page.locator(".strip").first.click(position={"x": 4, "y": 4})

    assert _pixels(page) != before
    expect(page.get_by_role("button", name="Download PNG")).to_be_disabled()
    page.unroute_all(behavior="ignoreErrors")


def test_page_asks_once_at_a_time_and_then_for_the_newest(open_page: Open) -> None:
    page = open_page()
    _settled(page)
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
        _slider(page, "scale").press("End")
    for _ in range(5):
        _slider(page, "scale").press("ArrowLeft")
    assert len(held) == 1
    held[0].continue_()
    _settled(page)

    assert [z[0] for z in asked] == pytest.approx([2.3, 2.3 - 5 * 4.6 / 400])


def test_page_takes_a_file_and_repeats_what_is_wrong_with_one(open_page: Open) -> None:
    page = open_page("#model=color&version=1")
    _settled(page)
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

    _drop(page, files=files)

    expect(page.locator(".image-in .facts")).to_contain_text("one.png")
    expect(page.locator(".notice.error p")).to_have_text(
        "One picture at a time: of the 3 files one.png was taken."
    )


def test_page_says_that_a_dropped_text_is_no_file_and_goes_on_asking(open_page: Open) -> None:
    page = open_page()
    page.route("**/decode*", lambda route: route.fulfill(status=401))
    _slider(page, "scale").press("End")
    expect(page.get_by_label("API key")).to_be_focused()

    _drop(page, text="https://example.org/picture.png")

    expect(page.locator(".notice.error p")).to_have_text(
        "This was no file. Save the picture and drop the file that holds it."
    )
    page.unroute_all()
    page.get_by_label("API key").fill(KEY)
    page.keyboard.press("Enter")
    expect(_slider(page, "scale")).to_be_focused()


def test_page_says_that_a_file_cannot_be_read(open_page: Open, tmp_path: Path) -> None:
    page = open_page()
    (folder := tmp_path / "folder.png").mkdir()

    _drop(page, files=[folder])
    expect(page.locator(".notice.error p")).to_have_text(
        "folder.png cannot be read. Choose a file again."
    )

    _slider(page, "scale").press("End")  # nothing waits for the file
    expect(page.locator(".value").nth(1)).to_have_text("2.30")
    _settled(page)


def test_page_says_that_the_service_stopped_or_is_busy_and_goes_on(open_page: Open) -> None:
    page = open_page()
    page.route("**/decode*", lambda route: route.abort("connectionrefused"))
    _slider(page, "scale").press("Home")
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
    _settled(page)


def test_page_does_not_wait_for_ever_for_a_service_that_hangs(open_page: Open) -> None:
    impatient = """const { timeout } = AbortSignal;
        AbortSignal.timeout = (ms) => timeout.call(AbortSignal, ms / 10);"""
    page = open_page(script=impatient)
    _settled(page)
    page.route("**/decode*", lambda route: None)

    _slider(page, "scale").press("Home")

    expect(page.get_by_role("status")).to_have_text("Decoding the picture …")
    expect(page.locator(".notice.stopped p")).to_contain_text("The service does not answer.")
    page.unroute_all(behavior="ignoreErrors")
    expect(page.locator(".notice")).to_have_count(0, timeout=WAIT_MS)
    _settled(page)


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


def test_page_takes_no_sample_of_the_former_model(open_page: Open) -> None:
    page = open_page()
    _settled(page)
    held = _hold(page, "**/decode*")
    with page.expect_request("**/decode*"):
        page.get_by_role("button", name="Draw others").click()

    page.get_by_label("Model").select_option(label="gray · version 1")
    expect(page.locator(".samples li")).to_have_count(0)
    held[0].continue_()

    page.wait_for_url("**model=gray&version=1*sample=0*")
    original = page.get_by_role("img", name="original of sample 1")
    first = page.get_by_role("button", name="Take sample 1", exact=True).locator("canvas")
    assert original.evaluate(AS_TEXT) == first.evaluate(AS_TEXT)


def test_page_keeps_names_and_unfolds_nuisance_dimensions(open_page: Open) -> None:
    page = open_page()
    page.get_by_role("button", name="Rename scale").click()
    page.keyboard.type("size")
    page.keyboard.press("Enter")
    page.reload()
    expect(_slider(page, "size")).to_be_visible(timeout=WAIT_MS)

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
    expect(_slider(page, name)).to_be_visible()


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
    _settled(page)
    value = page.locator(".value").first
    before = value.inner_text()

    page.locator(".dimension").first.get_by_role("button", name="Play x position").click()
    assert page.locator(".dimensions").get_by_role("status").count() == 0, "it would be read out"
    expect(value).not_to_have_text(before)
    page.locator(".dimension").first.get_by_role("button", name="Stop x position").click()

    _settled(page)


def _press_slider(page: Page) -> None:
    _slider(page, "scale").hover()
    page.mouse.down()


@pytest.mark.parametrize(
    "act",
    [
        _press_slider,
        lambda page: _slider(page, "x position").press("Home"),
        lambda page: page.get_by_role("button", name="Reset all").click(),
        lambda page: page.get_by_role("button", name="Take sample 2", exact=True).click(),
    ],
    ids=["hold", "key", "reset", "sample"],
)
def test_page_stops_to_play_when_the_user_does_something(
    open_page: Open, act: Callable[[Page], None]
) -> None:
    page = open_page()
    _settled(page)
    page.locator(".dimension").nth(1).get_by_role("button", name="Play scale").click()

    act(page)

    expect(page.get_by_role("button", name="Stop scale")).to_have_count(0)


def test_page_gives_the_picture_and_its_command(open_page: Open, server: ServerProcess) -> None:
    page = open_page()
    _settled(page)

    with page.expect_download() as download:
        page.get_by_role("button", name="Download PNG").click()
    page.get_by_role("button", name="Copy as curl").click()

    assert download.value.suggested_filename == "gray-2.png"
    assert download.value.path().read_bytes().startswith(b"\x89PNG")
    command = page.locator(".curl textarea").input_value()
    assert command.startswith(f"curl -s '{server.url}/decode?model=gray&version=2' -H")


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

    expect(_slider(page, "W" * 40)).to_be_visible()
    assert page.evaluate(overflow) <= 0


def test_page_hides_no_control_that_has_the_focus(open_page: Open) -> None:
    page = open_page()
    page.set_viewport_size({"width": 375, "height": 700})
    page.get_by_role("button", name="Copy as curl").click()
    page.locator("summary").click()
    expect(page.locator(".strip canvas")).to_have_count(4, timeout=WAIT_MS)
    _slider(page, "z3").focus()

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
    page.set_viewport_size({"width": 375, "height": 400})
    expect(page.locator(".shown")).to_have_css("position", "static")


def test_page_shows_its_marks_in_the_colors_of_the_reader(open_page: Open) -> None:
    page = open_page()
    _settled(page)
    page.emulate_media(forced_colors="active")

    color = "(one) => getComputedStyle(one).backgroundColor"
    ground = page.locator("body").evaluate(color)
    pressed = page.locator(".samples [aria-pressed=true]").evaluate(color)

    for mark in (".bar span", ".mu", ".band"):
        assert page.locator(mark).first.evaluate(color) != ground
    assert pressed != page.locator(".samples [aria-pressed=false]").first.evaluate(color)
