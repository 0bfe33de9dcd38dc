"""The page that a report leaves: read as HTML, not as text."""

import base64
import io
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from tests.training.known_model import FourPixels, KnownVAE, known_report
from training.figures import draw_report_figures
from training.report_page import report_page

VOID = {"meta", "img", "br", "link", "input"}


class Page(HTMLParser):
    """Elements by tag, the text of each, and whether all are closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str]]] = []
        self.open: list[str] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if not self.open or self.open[-1] != "style":
            self.words.append(data)

    def all(self, tag):
        return [attributes for name, attributes in self.found if name == tag]

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())


def picture(image):
    head, _, data = image["src"].partition(",")
    assert head == "data:image/png;base64"
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))))


def page_of(report, folder):
    vae, source = KnownVAE(), FourPixels()
    figures = draw_report_figures(folder / "figures", vae, source, report=report, log=[])
    return Page(report_page(report, vae, source, figures=figures))


@pytest.fixture
def report():
    """Of four dimensions 1 and 3 are relevant: each brightens one pixel."""
    return known_report()


def test_page_has_a_section_for_each_relevant_dimension(report, tmp_path):
    page = page_of(report, tmp_path)
    assert page.open == []
    sections = [attributes["id"] for attributes in page.all("section")]
    assert sections == ["dimension-1", "dimension-3"]
    assert [attributes["href"] for attributes in page.all("a")] == ["#dimension-1", "#dimension-3"]
    assert "2 factors in four-pixels" in page.text


def test_page_needs_nothing_from_elsewhere(report, tmp_path):
    page = page_of(report, tmp_path)
    assert not page.all("script")
    assert not page.all("link")
    assert all(image["src"].startswith("data:image/png;base64,") for image in page.all("img"))


def test_every_picture_has_a_text_and_can_be_decoded(report, tmp_path):
    images = page_of(report, tmp_path).all("img")
    assert len(images) == 4 * 2 + 3
    for image in images:
        assert image["alt"]
        assert min(picture(image).shape[:2]) >= 60


def test_ends_show_the_images_that_lie_there(report, tmp_path):
    sweep, low, high, _ = page_of(report, tmp_path).all("img")[:4]
    # Dimension 1 is the pixel at the upper right, black at the low end and white at the high end.
    assert picture(low)[2, 60, 0] == 0
    assert picture(high)[2, 60, 0] == 255
    frames = picture(sweep)
    assert frames[2, 60, 0] < frames[2, -4, 0]


def test_page_tells_the_votes_of_every_dimension(report, tmp_path):
    page = page_of(report, tmp_path)
    assert len(page.all("td")) == (len(report["dims"][0]["votes"]) + 2) * 4
    assert report["rule"] in page.text


def test_page_of_nothing_relevant_says_what_to_change(tmp_path):
    report = known_report(relevance=(0.1, 0.1, 0.1, 0.1))
    for row in report["dims"]:
        row["relevant"] = False
    page = page_of(report | {"relevant_dims": [], "n_relevant": 0}, tmp_path)
    assert "0 factors in" in page.text
    assert "objective.kl_weight_max" in page.text
    assert not page.all("section")


def test_page_escapes_names(report, tmp_path):
    run = report["run"] | {"data": report["run"]["data"] | {"name": "<b>mine</b>"}}
    page = page_of(report | {"run": run}, tmp_path)
    assert not page.all("b")
    assert "<b>mine</b>" in page.text
