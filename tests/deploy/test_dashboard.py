"""The Grafana dashboard: queries that find something, and a layout without overlaps."""

import json
import re
from itertools import combinations
from typing import Any

import pytest

from service.observability.metrics import INFERENCE_OPERATIONS
from tests.deploy.dockerfile import ROOT, script
from tests.deploy.exported import labels_of, mistakes

FOLDER = ROOT / "deploy/grafana"
TEXT = (FOLDER / "dashboards/rfvae.json").read_text()
DASHBOARD: dict[str, Any] = json.loads(TEXT)
PANELS: list[dict[str, Any]] = DASHBOARD["panels"]
CHOICES: list[dict[str, Any]] = DASHBOARD["templating"]["list"]
TARGETS = [(panel["title"], target) for panel in PANELS for target in panel.get("targets", [])]


def _plain(expression: str) -> str:
    """Grafana's variables replaced as it would."""
    return expression.replace("$__rate_interval", "1m").replace("$", "")


def test_dashboard_is_what_its_program_writes() -> None:
    program = script("deploy/grafana/make_dashboard.py")

    assert program.text() == TEXT, "run `python deploy/grafana/make_dashboard.py`"


@pytest.mark.parametrize(("title", "target"), TARGETS)
def test_dashboard_queries_name_only_what_is_exported(title: str, target: dict[str, Any]) -> None:
    assert mistakes(_plain(target["expr"])) == []


@pytest.mark.parametrize(("title", "target"), TARGETS)
def test_dashboard_legends_name_labels_of_the_result(title: str, target: dict[str, Any]) -> None:
    legend = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
    grouped = {
        name.strip()
        for names in re.findall(r"by \(([^)]*)\)", target["expr"])
        for name in names.split(",")
    }
    recorded = {
        label
        for name in re.findall(r"[\w]+:[\w:]+", target["expr"])
        for label in labels_of().get(name, ())
    }

    assert legend <= grouped | recorded


def test_dashboard_works_with_a_prometheus_of_any_name() -> None:
    """In a Grafana that others run, the data source has another uid than in the compose file."""
    sources = {one["name"] for one in CHOICES if one["type"] == "datasource"}

    assert CHOICES[0]["type"] == "datasource"  # the other choices ask it
    assert {"${" + name + "}" for name in sources} == set(re.findall(r'"uid": "(\$.*)"', TEXT))
    assert re.findall(r'"uid": "([^$"]*)"', TEXT) == ["rfvae"]  # the dashboard's own


@pytest.mark.parametrize(
    "choice",
    [one for one in CHOICES if one["type"] == "query"],
    ids=lambda one: one["name"],
)
def test_dashboard_choices_name_only_what_is_exported(choice: dict[str, Any]) -> None:
    found = re.fullmatch(r"label_values\((.*), (\w+)\)", choice["query"]["query"])
    assert found is not None
    metric = found[1].split("{")[0]

    assert mistakes(_plain(found[1])) == []
    assert found[2] in labels_of()[metric]


def test_dashboard_shows_every_exported_metric() -> None:
    named = {
        re.sub(r"_(bucket|sum|count)$", "", name)
        for _, target in TARGETS
        for name in re.findall(r"rfvae_\w+", target["expr"])
    }
    exported = {
        re.sub(r"_(bucket|sum|count)$", "", name)
        for name in labels_of()
        if name.startswith("rfvae_") and ":" not in name and not name.endswith("_created")
    }
    through_rules = {"rfvae_latent_out_of_range_total"}
    not_shown = {"rfvae_queue_bytes", "rfvae_model_loads_total"}  # for tuning and for the log

    assert exported - named - through_rules <= not_shown


def test_dashboard_asks_the_three_questions_in_order() -> None:
    rows = [panel["title"] for panel in PANELS if panel["type"] == "row"]

    assert rows == [
        "Is it healthy?",
        "Where does time go?",
        "What is the model seeing?",
    ]


def test_dashboard_counts_every_operation_that_runs_inference() -> None:
    for operations in re.findall(r'operation=~\\"([^"\\]*)\\"', TEXT):
        assert set(operations.split("|")) == INFERENCE_OPERATIONS


def test_dashboard_panels_have_their_own_id_and_place() -> None:
    assert len({panel["id"] for panel in PANELS}) == len(PANELS)
    for first, second in combinations((panel["gridPos"] for panel in PANELS), 2):
        beside = first["x"] + first["w"] <= second["x"] or second["x"] + second["w"] <= first["x"]
        apart = first["y"] + first["h"] <= second["y"] or second["y"] + second["h"] <= first["y"]
        assert beside or apart
        assert first["x"] + first["w"] <= 24


def test_dashboard_tables_join_their_queries_and_name_every_number() -> None:
    tables = [panel for panel in PANELS if panel["type"] == "table"]

    assert tables
    for table in tables:
        merge, organize = table["transformations"]
        assert merge["id"] == "merge"
        numbers = {f"Value #{query['refId']}" for query in table["targets"]}
        assert set(organize["options"]["renameByName"]) == numbers


def test_dashboard_panels_say_what_they_show() -> None:
    panels = [panel for panel in PANELS if panel["type"] != "row"]

    assert [panel["title"] for panel in panels if not panel["description"]] == []
