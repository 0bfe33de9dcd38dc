"""Writes dashboards/rfvae.json: `python deploy/grafana/make_dashboard.py`.

Three rows: is it healthy, where does time go, what is the model seeing. Change a panel here, not in
the JSON; a test fails when the two differ or a query names a metric or label that nobody exports.
"""

import json
import sys
from pathlib import Path
from string import ascii_uppercase
from typing import Any

TARGET = Path(__file__).parent / "dashboards" / "rfvae.json"
WIDTH = 24
SOURCE = {"type": "prometheus", "uid": "${datasource}"}  # chosen above the dashboard
INFERENCE = 'operation=~"encode|factors|decode|traverse|reconstruct|interpolate|swap|oip"'
HERE = 'job=~"$job", instance=~"$instance"'
MODEL = 'job=~"$job", model=~"$model"'
# While two versions answer beside each other, one of two names.
FACTORS = (
    f"topk by (job, model, dim) (1, max by (job, model, dim, name) (rfvae_factor_info{{{MODEL}}}))"
)

Json = dict[str, Any]


def target(expr: str, legend: str = "__auto", **options: Any) -> Json:
    """One query of a panel."""
    return {"datasource": SOURCE, "expr": expr, "legendFormat": legend, **options}


def panel(  # noqa: PLR0913 (what differs between panels)
    kind: str,
    title: str,
    targets: list[Json],
    *,
    description: str,
    unit: str = "short",
    width: int = 8,
    height: int = 8,
    steps: list[tuple[float | None, str]] | None = None,
    custom: Json | None = None,
    options: Json | None = None,
    transformations: list[Json] | None = None,
) -> Json:
    """One panel; `steps` are thresholds, from (None, color) up."""
    thresholds = [{"value": value, "color": color} for value, color in steps or [(None, "green")]]
    return {
        "type": kind,
        "title": title,
        "description": description,
        "datasource": SOURCE,
        "targets": [{"refId": ascii_uppercase[i], **one} for i, one in enumerate(targets)],
        "transformations": transformations or [],
        "gridPos": {"w": width, "h": height},
        "fieldConfig": {
            "defaults": {
                "unit": unit,
                "min": 0,
                "thresholds": {"mode": "absolute", "steps": thresholds},
                "custom": custom or {},
            },
            "overrides": [],
        },
        "options": options or {},
    }


def stat(title: str, expr: str, **options: Any) -> Json:
    """One large number with its course behind it."""
    return panel(
        "stat",
        title,
        [target(expr)],
        width=4,
        height=4,
        options={
            "reduceOptions": {"calcs": ["lastNotNull"]},
            "colorMode": "background",
            "graphMode": "area",
        },
        **options,
    )


def lines(title: str, targets: list[Json], **options: Any) -> Json:
    """Courses over time, with their last and largest values."""
    return panel(
        "timeseries",
        title,
        targets,
        options={
            "legend": {
                "displayMode": "table",
                "placement": "bottom",
                "calcs": ["lastNotNull", "max"],
            },
            "tooltip": {"mode": "multi", "sort": "desc"},
        },
        **options,
    )


def heatmap(title: str, expr: str, **options: Any) -> Json:
    """The buckets of a histogram over time."""
    return panel(
        "heatmap",
        title,
        [target(expr, "{{le}}", format="heatmap")],
        options={"calculate": False, "color": {"scheme": "Blues", "mode": "scheme"}},
        **options,
    )


def quantile(share: float, metric: str, labels: str, by: str = "") -> str:
    """A quantile over time of a histogram of the instances chosen above the dashboard."""
    groups = f"le, {by}" if by else "le"
    rate = f"sum by ({groups}) (rate({metric}_bucket{{{labels}}}[$__rate_interval]))"
    return f"histogram_quantile({share}, {rate})"


def healthy() -> list[Json]:
    """Is it healthy? Six numbers, then who is answered how, how fast, and what fires."""
    duration = "rfvae_request_duration_seconds"
    selected = f"{HERE}, {INFERENCE}"
    return [
        stat(
            "Models ready",
            f"sum(min by (model) (rfvae_model_ready{{{HERE}}})) / count(count by (model) "
            f"(rfvae_model_ready{{{HERE}}}))",
            description="Share of the models that every instance can answer with.",
            unit="percentunit",
            steps=[(None, "red"), (1, "green")],
        ),
        stat(
            "Instances ready",
            f"sum(rfvae_ready{{{HERE}}}) or vector(0)",
            description="Instances that can answer where a request names no model.",
            steps=[(None, "red"), (1, "green")],
        ),
        stat(
            "Requests",
            f"sum(rate(rfvae_requests_total{{{selected}}}[$__rate_interval]))",
            description="Inference requests a second, whatever their outcome.",
            unit="reqps",
        ),
        stat(
            "Failed",
            'max(job:rfvae_errors:ratio_rate5m{job=~"$job"}) or vector(0)',
            description="Share that ended in an error, a deadline or a 503. Alert: 1 %.",
            unit="percentunit",
            steps=[(None, "green"), (0.001, "yellow"), (0.01, "red")],
        ),
        stat(
            "Refused",
            'max(job:rfvae_rejected:ratio_rate5m{job=~"$job"}) or vector(0)',
            description="Share of requests answered 429, as the queue was full. Alert: 1 %.",
            unit="percentunit",
            steps=[(None, "green"), (0.001, "yellow"), (0.01, "red")],
        ),
        stat(
            "p99",
            'max(job:rfvae_request_duration_seconds:p99_rate5m{job=~"$job"})',
            description="99 of 100 inference requests take no longer. Alert: the objective.",
            unit="s",
            steps=[(None, "green"), (0.1, "yellow"), (0.25, "red")],
        ),
        lines(
            "Requests by outcome",
            [
                target(
                    f"sum by (outcome) (rate(rfvae_requests_total{{{selected}}}"
                    "[$__rate_interval])) > 0",
                    "{{outcome}}",
                )
            ],
            description="Inference requests a second.",
            unit="reqps",
            custom={"fillOpacity": 20, "stacking": {"mode": "normal"}},
        ),
        lines(
            "Duration",
            [
                *(
                    target(quantile(share, duration, selected), f"p{share * 100:g}")
                    for share in (0.5, 0.95, 0.99)
                ),
                target("rfvae:p99_objective:seconds", "objective"),
            ],
            description="From the request's headers to the end of its answer.",
            unit="s",
        ),
        panel(
            "alertlist",
            "Alerts",
            [],
            description="What fires now; docs/operations.md has a cure for each.",
            options={
                "alertName": "Rfvae",
                "stateFilter": {"firing": True, "pending": True},
                "viewMode": "list",
            },
        ),
    ]


def time() -> list[Json]:
    """Where does time go? The stages, the queue, the batches."""
    stage = "rfvae_stage_duration_seconds"
    return [
        lines(
            "Mean time by stage",
            [
                target(
                    f"sum by (stage) (rate({stage}_sum{{{HERE}}}[$__rate_interval])) / "
                    f"sum by (stage) (rate({stage}_count{{{HERE}}}[$__rate_interval]))",
                    "{{stage}}",
                )
            ],
            description="decode: bytes to pixels; queue: wait; infer: the runtime; encode: answer.",
            unit="s",
            custom={"fillOpacity": 40, "stacking": {"mode": "normal"}},
        ),
        lines(
            "p99 by stage",
            [target(f"{quantile(0.99, stage, HERE, 'stage')} > 0", "{{stage}}")],
            description="The slowest one in a hundred, stage by stage; they do not add up.",
            unit="s",
        ),
        lines(
            "p99 by operation",
            [
                target(
                    quantile(
                        0.99,
                        "rfvae_request_duration_seconds",
                        f"{HERE}, {INFERENCE}",
                        "operation",
                    )
                    + " > 0",  # no line for an operation that nobody asks for
                    "{{operation}}",
                )
            ],
            description="Operations with more rows take longer.",
            unit="s",
        ),
        lines(
            "Rows that wait",
            [
                target(f"sum(rfvae_queue_rows{{{HERE}}})", "rows"),
                target(f"sum(rfvae_requests_in_flight{{{HERE}}})", "requests in flight"),
            ],
            description="Replicas are added by the rows that wait (Kubernetes).",
        ),
        lines(
            "Large pictures that wait",
            [target(f"max(rfvae_reading_wait_seconds{{{HERE}}})", "until they are read")],
            description="Seconds of decoding before the last of them is done; replicas are added "
            "by it too.",
            unit="s",
        ),
        lines(
            "Rows a batch",
            [
                target(
                    f"sum(rate(rfvae_batch_rows_sum{{{HERE}}}[$__rate_interval])) / "
                    f"sum(rate(rfvae_batch_rows_count{{{HERE}}}[$__rate_interval]))",
                    "mean",
                ),
            ],
            description="How full batches are; more rows a batch means fewer runs a row.",
        ),
        lines(
            "Refused and given up",
            [
                target(
                    f"sum by (reason) (rate(rfvae_rejected_total{{{HERE}}}[$__rate_interval])) > 0",
                    "{{reason}}",
                ),
                target(
                    f"sum(rate(rfvae_failed_batches_total{{{HERE}}}[$__rate_interval])) > 0",
                    "batches failed",
                ),
            ],
            description="Requests a second by reason; batches that the runtime could not run.",
            unit="reqps",
        ),
        heatmap(
            "Duration of requests",
            f"sum by (le) (increase(rfvae_request_duration_seconds_bucket{{{HERE}, {INFERENCE}}}"
            "[$__rate_interval]))",
            description="Every inference request; two bands mean two kinds of requests.",
            width=12,
        ),
        heatmap(
            "Rows of batches",
            f"sum by (le) (increase(rfvae_batch_rows_bucket{{{HERE}}}[$__rate_interval]))",
            description="Rows of each batch before padding.",
            width=12,
        ),
    ]


def seen() -> list[Json]:
    """What is the model seeing? Drift of each factor, novelty, versions."""
    novelty = "rfvae_reconstruction_novelty"
    return [
        lines(
            "Out of the training range, by factor",
            [
                target(
                    f"job_model_dim:rfvae_latent_out_of_range:ratio_increase1h{{{MODEL}}} "
                    f"* on (job, model, dim) group_left (name) {FACTORS}",
                    "{{model}} {{name}} (dim {{dim}})",
                )
            ],
            description="Share of the last hour's images outside the 1 to 99 % range; 2 % is "
            "usual. Alert: 10 %, of the other dimensions too.",
            unit="percentunit",
            width=12,
        ),
        lines(
            "Novel images",
            [target(f"job_model:rfvae_novel_images:ratio_increase1h{{{MODEL}}}", "{{model}}")],
            description="Share of the last hour's images that are rarer than 95 % of the training "
            "images; 5 % is usual. Alert: 25 %.",
            unit="percentunit",
            width=12,
        ),
        heatmap(
            "Novelty",
            f"sum by (le) (increase({novelty}_bucket{{{MODEL}}}[$__rate_interval]))",
            description="Percent of the training images that the model explains better.",
        ),
        lines(
            "Images encoded",
            [
                target(
                    f"sum by (model) (rate(rfvae_images_total{{{MODEL}}}[$__rate_interval]))",
                    "{{model}}",
                )
            ],
            description="Images a second through /encode and /factors.",
        ),
        panel(
            "table",
            "Models",
            [
                target(
                    f"count by (model, version, provider) (rfvae_model_info{{{MODEL}}})",
                    format="table",
                    instant=True,
                ),
                *(
                    target(f"max by (model) ({metric}{{{MODEL}}})", format="table", instant=True)
                    for metric in (
                        "rfvae_relevant_dims",
                        "rfvae_model_lanes",
                        "rfvae_model_threads",
                    )
                ),
            ],
            description="Versions that answer, what runs them, on how many instances, how wide.",
            transformations=[
                {"id": "merge", "options": {}},  # one table of all queries
                {
                    "id": "organize",
                    "options": {
                        "excludeByName": {"Time": True},
                        "renameByName": {
                            "Value #A": "instances",
                            "Value #B": "relevant dims",
                            "Value #C": "lanes",
                            "Value #D": "threads a lane",
                        },
                    },
                },
            ],
        ),
    ]


def dashboard() -> Json:
    """The whole dashboard, with places and ids given out."""
    panels: list[Json] = []
    y = 0
    for title, row in (
        ("Is it healthy?", healthy()),
        ("Where does time go?", time()),
        ("What is the model seeing?", seen()),
    ):
        panels.append(
            {
                "type": "row",
                "title": title,
                "collapsed": False,
                "panels": [],
                "gridPos": {"x": 0, "y": y, "w": WIDTH, "h": 1},
            }
        )
        y = place(row, y + 1)
        panels.extend(row)
    return {
        "uid": "rfvae",
        "title": "RF-VAE service",
        "tags": ["rfvae"],
        "schemaVersion": 39,
        "editable": False,
        "refresh": "10s",
        "time": {"from": "now-1h", "to": "now"},
        "templating": {"list": [DATASOURCE, *(variable(*choice) for choice in VARIABLES)]},
        "panels": [{"id": number, **one} for number, one in enumerate(panels, start=1)],
    }


# Grafana takes its default one until another is chosen, whatever either is called.
DATASOURCE = {
    "name": "datasource",
    "label": "data source",
    "type": "datasource",
    "query": "prometheus",
    "refresh": 1,
    "includeAll": False,
    "multi": False,
    "current": {"text": "default", "value": "default"},
}
VARIABLES = (
    ("job", "label_values(rfvae_model_ready, job)"),
    ("instance", 'label_values(rfvae_model_ready{job=~"$job"}, instance)'),
    ("model", 'label_values(rfvae_model_ready{job=~"$job"}, model)'),
)


def variable(name: str, query: str) -> Json:
    """A choice above the dashboard; all of them unless one is made."""
    return {
        "name": name,
        "type": "query",
        "datasource": SOURCE,
        "query": {"query": query, "refId": name},
        "refresh": 2,
        "includeAll": True,
        "allValue": ".*",
        "multi": True,
        "current": {"text": "All", "value": "$__all"},
    }


def place(row: list[Json], y: int) -> int:
    """Gives panels their places from left to right; returns the first free line."""
    x = height = 0
    for one in row:
        position = one["gridPos"]
        if x + position["w"] > WIDTH:
            x, y, height = 0, y + height, 0
        position.update(x=x, y=y)
        x, height = x + position["w"], max(height, position["h"])
    return y + height


def text() -> str:
    """The file as it should be."""
    return json.dumps(dashboard(), indent=1) + "\n"


if __name__ == "__main__":
    TARGET.write_text(text())
    sys.stdout.write(f"wrote {TARGET}\n")
