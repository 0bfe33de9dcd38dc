"""Writes the tables of operations.md from the code: `make docs`.

What stands between `<!-- NAME: make docs -->` and `<!-- end -->` is replaced: `settings` and
`metrics` from the service, `alert NAME` from deploy/prometheus/rules.yml. The rest is written by
hand. A test fails when the file is not what this program would write.
"""

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import NoneType
from typing import Any, Literal, get_args, get_origin

import numpy as np
import yaml
from prometheus_client.parser import text_string_to_metric_families
from pydantic.fields import FieldInfo

from service.observability.metrics import Metrics
from service.observability.model_metrics import ReadyModel
from service.settings import BUNDLED, ENV_PREFIX, Settings

TARGET = Path(__file__).parent / "operations.md"
RULES = Path(__file__).parents[1] / "deploy/prometheus/rules.yml"
BLOCK = re.compile(r"(<!-- ([\w ]+): make docs -->\n).*?(<!-- end -->)", re.DOTALL)
# By the end of a setting's name, the first that fits.
UNITS = {
    "bytes_per_s": "bytes/s",
    "_ms": "ms",
    "_s": "s",
    "bytes": "bytes",
    "pixels": "pixels",
    "rows": "rows",
    "steps": "steps",
    "lanes": "lanes",
    "threads": "threads",
    "processes": "processes",
    "in_flight": "requests",
    "connections": "connections",
    "ratio": "share",
    "port": "port",
}
LIMITS = {"ge": "≥ {}", "gt": "> {}", "le": "≤ {}", "lt": "< {}", "min_length": "not empty"}
OPEN_LABELS = {"model", "version", "provider", "dim", "name"}  # as many as there are models


def text() -> str:
    """The file as it should be."""
    return BLOCK.sub(_filled, TARGET.read_text(encoding="utf-8"))


def _filled(found: "re.Match[str]") -> str:
    name = found[2]
    if name == "settings":
        lines = list(settings_table())
    elif name == "metrics":
        lines = list(metrics_table())
    else:
        lines = list(alert_lines(name.removeprefix("alert ")))
    return found[1] + "\n".join(lines) + "\n" + found[3]


def settings_table() -> Iterator[str]:
    """One row a setting."""
    yield "| variable | default | range | unit | meaning |"
    yield "|---|---|---|---|---|"
    for name, field in sorted(Settings.model_fields.items()):
        cells = (
            f"`{ENV_PREFIX}{name.upper()}`",
            _shown(None if field.default_factory else field.default),
            _range(field),
            unit_of(name, field),
            field.description or "",
        )
        yield f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def unit_of(name: str, field: FieldInfo) -> str:
    """The unit of a number, from its name; nothing for other settings.

    Raises:
        ValueError: a number without one.
    """
    if field.annotation not in (int, float):
        return ""
    for ending, unit in UNITS.items():
        if name.endswith(ending):
            return unit
    raise ValueError(f"setting `{name}` must end in its unit: one of {', '.join(UNITS)}")


def _shown(value: Any) -> str:
    if value == (BUNDLED,):
        return "the bundled models"
    if value is None or value == ():
        return "unset"
    if isinstance(value, tuple):
        return f"`{','.join(map(str, value))}`"
    if isinstance(value, bool):
        return f"`{value}`".lower()
    if isinstance(value, float):
        return f"`{value:g}`"
    return f"`{value}`"


def _range(field: FieldInfo) -> str:
    choices = _choices(field.annotation)
    if choices:
        return ", ".join(f"`{choice}`" for choice in choices)
    limits = [
        pattern.format(f"{value:,}" if isinstance(value, int) else value)
        for mark in field.metadata
        for name, pattern in LIMITS.items()
        if (value := getattr(mark, name, None)) is not None
    ]
    return ", ".join(limits)


def _choices(annotation: Any) -> list[str]:
    """The values of a closed set; of a tuple, those of its members."""
    if annotation is bool:
        return ["true", "false"]
    if get_origin(annotation) is Literal:
        return list(get_args(annotation))
    inner = [part for part in get_args(annotation) if part not in (..., NoneType)]
    return _choices(inner[0]) if inner else []


def metrics_table() -> Iterator[str]:
    """One row a metric, then the values of the labels that are a closed set."""
    metrics = Metrics()
    bound = np.ones(1, np.float32)
    metrics.models.show(
        ["name"], [ReadyModel("name", 1, "provider", {0: "x"}, low=-bound, high=bound)]
    )
    values: dict[tuple[str, ...], set[str]] = {}
    yield "| metric | type | labels | meaning |"
    yield "|---|---|---|---|"
    for family in text_string_to_metric_families(metrics.render().decode()):
        if family.name.endswith("_created"):
            continue
        name = f"{family.name}_total" if family.type == "counter" else family.name
        labels = sorted({label for sample in family.samples for label in sample.labels} - {"le"})
        for sample in family.samples:
            for label in (label for label in labels if label not in OPEN_LABELS):
                values.setdefault((name, label), set()).add(sample.labels.get(label, ""))
        shown = ", ".join(f"`{label}`" for label in labels)
        yield f"| `{name}` | {family.type} | {shown} | {family.documentation} |"
    yield ""
    for (name, label), found in values.items():
        listed = ", ".join(f"`{value}`" for value in sorted(found - {""}))
        yield f"- `{label}` of `{name}`: {listed}."


def alerts() -> dict[str, dict[str, Any]]:
    """Every alert by its name, in the order of the rules."""
    groups = yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    return {rule["alert"]: rule for rule in rules if "alert" in rule}


def alert_lines(name: str) -> Iterator[str]:
    """When it fires, and its cure in one line."""
    alert = alerts()[name]
    yield f"**{alert['labels']['severity']}**, once this holds for {alert['for']}:"
    yield ""
    yield "```promql"
    yield str(alert["expr"]).rstrip()
    yield "```"
    yield ""
    yield f"Cure: {alert['annotations']['cure']}"


if __name__ == "__main__":
    TARGET.write_text(text(), encoding="utf-8")
    sys.stdout.write(f"wrote {TARGET}\n")
