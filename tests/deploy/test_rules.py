"""Recording rules and alerts."""

import re
import subprocess
from typing import Any

import pytest
import yaml

from service.observability.metrics import INFERENCE_OPERATIONS
from tests.deploy.dockerfile import ROOT
from tests.deploy.exported import RULES, mistakes, rules
from tests.deploy.prometheus import program

UNIT_TESTS = ROOT / "tests/deploy/alerts_test.yml"
ALERTS = [rule for rule in rules() if "alert" in rule]


def _promtool(*arguments: object) -> "subprocess.CompletedProcess[str]":
    command = [program("promtool"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize(
    "arguments",
    [
        ("check", "rules", RULES),
        ("check", "config", ROOT / "deploy/prometheus/prometheus.yml"),
        ("test", "rules", UNIT_TESTS),
    ],
)
def test_promtool_finds_nothing_wrong(arguments: tuple[object, ...]) -> None:
    done = _promtool(*arguments)

    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule.get("record") or rule["alert"])
def test_rules_name_only_what_is_exported(rule: dict[str, Any]) -> None:
    assert mistakes(rule["expr"]) == []


@pytest.mark.parametrize(
    ("expression", "found"),
    [
        ("rate(rfvae_nothing_total[5m])", ["no metric rfvae_nothing_total"]),
        ('rfvae_queue_rows{stage="x"}', ["rfvae_queue_rows has no label stage"]),
        ("sum by (colour) (rfvae_queue_rows)", ["nothing here has a label colour"]),
    ],
)
def test_mistakes_are_found(expression: str, found: list[str]) -> None:
    assert mistakes(expression) == found


def test_rules_count_every_operation_that_runs_inference() -> None:
    named = re.findall(r'operation=~"([^"]*)"', RULES.read_text())

    assert named
    for operations in named:
        assert set(operations.split("|")) == INFERENCE_OPERATIONS


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert["alert"])
def test_alert_says_what_is_wrong_and_what_cures_it(alert: dict[str, Any]) -> None:
    assert alert["labels"]["severity"] in {"critical", "warning"}
    assert alert["annotations"]["summary"]
    assert alert["annotations"]["cure"].endswith(".")
    assert "for" in alert


def test_every_alert_has_a_unit_test_in_which_it_fires_and_one_in_which_it_does_not() -> None:
    tests = yaml.safe_load(UNIT_TESTS.read_text())["tests"]
    cases = [case for test in tests for case in test["alert_rule_test"]]
    names = {alert["alert"] for alert in ALERTS}

    assert {case["alertname"] for case in cases if case.get("exp_alerts")} == names
    assert {case["alertname"] for case in cases if not case.get("exp_alerts")} == names
