"""Writes prometheusrule.yaml from deploy/prometheus/rules.yml, so that the rules stand once."""

import sys
from pathlib import Path

HERE = Path(__file__).parent
SOURCE = HERE.parents[1] / "prometheus" / "rules.yml"
TARGET = HERE / "prometheusrule.yaml"
HEAD = """\
# Made by make_rule.py from deploy/prometheus/rules.yml; change that and run it again.
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: rfvae
spec:
"""


def text() -> str:
    """The file as it should be."""
    rules = SOURCE.read_text()
    groups = rules[rules.index("groups:") :].splitlines()
    return HEAD + "\n".join(f"  {line}".rstrip() for line in groups) + "\n"


if __name__ == "__main__":
    TARGET.write_text(text())
    sys.stdout.write(f"wrote {TARGET}\n")
