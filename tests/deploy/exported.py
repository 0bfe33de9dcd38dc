"""What PromQL may name: the series that the service exports, and those that the rules record."""

import re
from functools import cache
from typing import Any

import numpy as np
import promql_parser as promql
import yaml
from prometheus_client.parser import text_string_to_metric_families

from service.observability.metrics import Metrics
from service.observability.model_metrics import ReadyModel
from tests.deploy.dockerfile import ROOT

RULES = ROOT / "deploy/prometheus/rules.yml"
ADDED_BY_THE_SCRAPE = {"job", "instance"}


def rules() -> list[dict[str, Any]]:
    """Every recording rule and alert."""
    groups = yaml.safe_load(RULES.read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


@cache
def labels_of() -> dict[str, frozenset[str]]:
    """The labels of every series that may be named."""
    metrics = Metrics()
    bound = np.ones(2, np.float32)
    metrics.models.show(["tiny"], [ReadyModel("tiny", 1, "cpu", {0: "x"}, low=-bound, high=bound)])
    found: dict[str, set[str]] = {"up": set()}
    for family in text_string_to_metric_families(metrics.render().decode()):
        for sample in family.samples:
            found.setdefault(sample.name, set()).update(sample.labels)
    exported = {name: frozenset(labels | ADDED_BY_THE_SCRAPE) for name, labels in found.items()}
    return exported | _recorded()


def _recorded() -> dict[str, frozenset[str]]:
    """A recorded series has the labels that its name begins with: level:metric:operation."""
    names = [rule["record"] for rule in rules() if "record" in rule]
    levels = {name: name.split(":")[0] for name in names}
    return {
        name: frozenset(() if level == "rfvae" else level.split("_"))
        for name, level in levels.items()
    }


def mistakes(expression: str) -> list[str]:
    """Metrics and labels that an expression names though nothing has them."""
    found: list[str] = []
    reached: set[str] = set()

    def visit(node: Any) -> bool:
        if isinstance(node, promql.VectorSelector):
            labels = labels_of().get(node.name)
            if labels is None:
                found.append(f"no metric {node.name}")
                return True
            reached.update(labels)
            asked = {matcher.name for matcher in node.matchers.matchers}
            found.extend(f"{node.name} has no label {name}" for name in sorted(asked - labels))
        return True

    tree = promql.parse(expression)
    promql.walk(tree, visit)
    grouped = {
        name.strip()
        for names in re.findall(r"\b(?:by|on|without|ignoring)\s*\(([^)]*)\)", expression)
        for name in names.split(",")
        if name.strip()
    }
    found.extend(f"nothing here has a label {name}" for name in sorted(grouped - reached))
    return found
