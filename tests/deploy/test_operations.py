"""The runbook: it lags behind nothing, and what points to it or from it arrives."""

import json
import re
from pathlib import Path

import pytest
from pydantic import Field
from pydantic.fields import FieldInfo

from service.settings import Settings
from tests.deploy.dockerfile import ROOT, script
from tests.deploy.exported import labels_of

PROGRAM = script("docs/make_operations.py")
RUNBOOK = ROOT / "docs/operations.md"
TEXT = RUNBOOK.read_text(encoding="utf-8")
ALERTS = PROGRAM.alerts()
PAGES = [
    ROOT / name
    for name in ("README.md", "CONTRIBUTING.md", "docs/operations.md", "deploy/ray/README.md")
]


def _anchors(page: Path) -> set[str]:
    """The names that the headings of a page have as places to go to."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading).lower().replace(" ", "-") for heading in headings}


def _section(heading: str) -> str:
    found = re.search(rf"^### {heading}\n(.*?)(?=^##|\Z)", TEXT, re.MULTILINE | re.DOTALL)
    assert found is not None
    return found[1]


def test_runbook_is_what_its_program_writes() -> None:
    assert PROGRAM.text() == TEXT, "run `make docs`"


def test_runbook_lists_every_setting() -> None:
    listed = set(re.findall(r"^\| `(RFVAE_\w+)` \|", TEXT, re.MULTILINE))

    assert listed == {f"RFVAE_{name}".upper() for name in Settings.model_fields}


@pytest.mark.parametrize(("name", "field"), Settings.model_fields.items())
def test_setting_says_what_it_means_and_a_number_its_unit(name: str, field: FieldInfo) -> None:
    assert field.description
    assert field.description.endswith(".")
    if field.annotation in (int, float):
        assert PROGRAM.unit_of(name, field)


def test_number_without_a_unit_is_refused() -> None:
    field = FieldInfo.from_annotated_attribute(int, Field(3, description="Patience."))

    with pytest.raises(ValueError, match="setting `patience` must end in its unit: one of byte"):
        PROGRAM.unit_of("patience", field)


def test_runbook_lists_every_metric() -> None:
    listed = set(re.findall(r"^\| `(rfvae_\w+)` \|", TEXT, re.MULTILINE))
    exported = {
        re.sub(r"_(bucket|sum|count)$", "", name)
        for name in labels_of()
        if name.startswith("rfvae_") and ":" not in name and not name.endswith("_created")
    }

    assert listed == exported


def test_runbook_has_a_section_for_each_alert_and_no_other() -> None:
    assert re.findall(r"^### (Rfvae\w+)$", TEXT, re.MULTILINE) == list(ALERTS)
    assert re.findall(r"^<!-- alert (\w+): make docs -->$", TEXT, re.MULTILINE) == list(ALERTS)


@pytest.mark.parametrize("name", ALERTS)
def test_alert_has_steps_that_cure_it(name: str) -> None:
    by_hand = _section(name).partition("<!-- end -->")[2]

    assert len(re.findall(r"^\d\. ", by_hand, re.MULTILINE)) >= 2


@pytest.mark.parametrize("name", ALERTS)
def test_alert_leads_to_its_section(name: str) -> None:
    page, _, anchor = ALERTS[name]["annotations"]["runbook"].partition("#")

    assert ROOT / page == RUNBOOK
    assert anchor == name.lower()
    assert anchor in _anchors(RUNBOOK)


def test_rules_and_dashboard_name_pages_that_exist() -> None:
    panels = json.loads((ROOT / "deploy/grafana/dashboards/rfvae.json").read_text())["panels"]
    texts = [panel.get("description", "") for panel in panels]
    texts.append((ROOT / "deploy/prometheus/rules.yml").read_text())
    named = {name for text in texts for name in re.findall(r"docs/\w+\.md", text)}

    assert named == {"docs/operations.md"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_arrive(page: Path) -> None:
    for link in re.findall(r"\]\(([^):]+)\)", page.read_text(encoding="utf-8")):
        path, _, anchor = link.partition("#")
        target = page if not path else (page.parent / path).resolve()
        assert target.exists(), link
        assert not anchor or anchor in _anchors(target), link


def test_runbook_names_only_files_settings_and_metrics_that_exist() -> None:
    quoted = re.findall(r"`([^`\n]+)`", TEXT)
    paths = {
        word for text in quoted for word in re.findall(r"(?:deploy|benchmarks)/[\w./-]+", text)
    }
    metrics = {word for text in quoted for word in re.findall(r"\b[\w:]*rfvae_[\w:]+", text)}
    settings = {word for text in quoted for word in re.findall(r"RFVAE_([A-Z_]+)", text)}

    assert [path for path in sorted(paths) if not (ROOT / path).exists()] == []
    assert settings <= {name.upper() for name in Settings.model_fields}
    exported = {re.sub(r"_(bucket|sum|count)$", "", name) for name in labels_of()}
    assert metrics <= exported
