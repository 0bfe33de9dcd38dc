"""Traces through the HTTP door: spans of requests and batches, their links, ids in the log."""

import asyncio
import json
import logging
import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from service.app import create_app
from service.observability.tracing import Tracing
from service.settings import Settings, SettingsError, load_settings
from tests.service import process
from tests.service.conftest import StartService, as_file, as_npy, picture

PNG = {"Content-Type": "image/png"}
NPY = {"Content-Type": "application/x-npy"}
TRACE_ID, PARENT_ID = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
Traced = tuple[httpx.AsyncClient, InMemorySpanExporter]


@asynccontextmanager
async def _traced(
    repository: Path, *, ratio: float = 1.0, **settings: Any
) -> AsyncIterator[Traced]:
    exporter = InMemorySpanExporter()
    tracing = Tracing(SimpleSpanProcessor(exporter), ratio=ratio)
    chosen = {"model_repository": (repository,), "lanes": 1, "access_log": "none", **settings}
    app = create_app(Settings(**chosen), tracing=tracing)
    transport = httpx.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://test") as client,
    ):
        await app.state.service.lifecycle.settled()
        yield client, exporter


@pytest.fixture
async def traced(repository: Path) -> AsyncIterator[Traced]:
    """A client of a traced service, and the spans that have ended."""
    async with _traced(repository) as started:
        yield started


def _named(exporter: InMemorySpanExporter, name: str) -> list[ReadableSpan]:
    return [span for span in exporter.get_finished_spans() if span.name == name]


def _linked(span: ReadableSpan) -> set[int]:
    return {link.context.span_id for link in span.links}


def _id(span: ReadableSpan) -> int:
    assert span.context is not None
    return span.context.span_id


async def test_request_span_says_where_the_time_went(traced: Traced) -> None:
    client, exporter = traced
    images = np.stack([picture(seed) for seed in range(3)])

    answer = await client.post("/encode", content=as_npy(images), headers=NPY)

    (span,) = _named(exporter, "POST encode")
    facts = dict(span.attributes or {})
    assert span.kind is SpanKind.SERVER
    assert span.parent is None
    assert (facts["rfvae.rows"], facts["rfvae.batch_rows"]) == (3, 3)
    assert (facts["rfvae.outcome"], facts["http.response.status_code"]) == ("ok", 200)
    assert (facts["rfvae.model"], facts["rfvae.version"]) == ("tiny", "1")
    assert facts["rfvae.request_id"] == answer.headers["x-request-id"]
    stages = [facts[f"rfvae.{name}_s"] for name in ("decode", "queue", "infer", "encode")]
    assert all(isinstance(stage, float) and stage >= 0 for stage in stages)


async def test_request_span_goes_on_with_the_callers_trace(traced: Traced) -> None:
    client, exporter = traced
    headers = {**PNG, "traceparent": f"00-{TRACE_ID}-{PARENT_ID}-01", "tracestate": "a=b"}

    await client.post("/encode", content=as_file(picture()), headers=headers)

    (span,) = _named(exporter, "POST encode")
    assert span.context is not None
    assert span.parent is not None
    assert f"{span.context.trace_id:032x}" == TRACE_ID
    assert f"{span.parent.span_id:016x}" == PARENT_ID
    assert span.context.trace_state.get("a") == "b"


@pytest.mark.parametrize("given", ["nonsense", f"00-{'0' * 32}-{PARENT_ID}-01", "00-ü-1-01", ""])
async def test_request_span_begins_a_trace_where_the_callers_is_damaged(
    traced: Traced, given: str
) -> None:
    client, exporter = traced
    headers = {"content-type": "image/png", "traceparent": given}
    sent = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]

    answer = await client.post("/encode", content=as_file(picture()), headers=sent)

    (span,) = _named(exporter, "POST encode")
    assert answer.status_code == 200
    assert span.parent is None


async def test_batch_span_is_linked_to_the_requests_it_served(traced: Traced) -> None:
    client, exporter = traced
    content = as_npy(np.stack([picture(seed) for seed in range(2)]))

    await asyncio.gather(*(client.post("/encode", content=content, headers=NPY) for _ in range(3)))

    requests, batches = _named(exporter, "POST encode"), _named(exporter, "batch encode")
    assert len(requests) == 3
    assert set.union(*(_linked(batch) for batch in batches)) == {_id(span) for span in requests}
    assert set.union(*(_linked(span) for span in requests)) == {_id(span) for span in batches}
    assert sum((batch.attributes or {})["rfvae.rows"] for batch in batches) == 6
    assert all(batch.parent is None for batch in batches)
    for batch in batches:
        assert batch.start_time is not None
        assert batch.end_time is not None
        seconds = (batch.end_time - batch.start_time) / 1e9
        assert seconds == pytest.approx((batch.attributes or {})["rfvae.infer_s"], abs=1e-6)


async def test_request_of_two_operations_is_linked_to_both_batches(traced: Traced) -> None:
    client, exporter = traced

    await client.post("/factors", content=as_file(picture()), headers=PNG)

    (span,) = _named(exporter, "POST factors")
    batches = [*_named(exporter, "batch encode"), *_named(exporter, "batch decode")]
    assert _linked(span) == {_id(batch) for batch in batches}
    assert len(batches) == 2


async def test_span_of_a_bad_request_names_the_problem(traced: Traced) -> None:
    client, exporter = traced

    await client.post("/encode", content=b"no png", headers=PNG)

    (span,) = exporter.get_finished_spans()
    facts = dict(span.attributes or {})
    assert facts["rfvae.problem"] == "malformed-input"
    assert facts["rfvae.outcome"] == "bad_request"
    assert span.status.status_code is StatusCode.UNSET


async def test_probes_have_no_spans(traced: Traced) -> None:
    client, exporter = traced

    for path in ("/readyz", "/metrics", "/models"):
        await client.get(path)

    assert exporter.get_finished_spans() == ()


async def test_request_that_is_not_sampled_leaves_nothing(repository: Path) -> None:
    async with _traced(repository, ratio=0.0) as (client, exporter):
        await client.post("/encode", content=as_file(picture()), headers=PNG)
        caller = {**PNG, "traceparent": f"00-{TRACE_ID}-{PARENT_ID}-01"}
        await client.post("/encode", content=as_file(picture()), headers=caller)

    names = [span.name for span in exporter.get_finished_spans()]
    assert sorted(names) == ["POST encode", "batch encode"]  # the one that its caller traces


async def test_log_line_has_the_trace_id(
    repository: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="service")
    headers = {**PNG, "traceparent": f"00-{TRACE_ID}-{PARENT_ID}-01"}

    async with _traced(repository, access_log="all") as (client, _):
        await client.post("/encode", content=as_file(picture()), headers=headers)
        await client.get("/livez")

    lines = [vars(entry)["fields"] for entry in caplog.records if "fields" in vars(entry)]
    ids = {line["operation"]: line.get("trace_id") for line in lines if "operation" in line}
    assert ids == {"encode": TRACE_ID, "health": None}


async def test_service_without_the_setting_imports_no_sdk(repository: Path) -> None:
    program = f"""
import sys
from pathlib import Path
from service.app import create_app
from service.settings import Settings
create_app(Settings(model_repository=(Path({str(repository)!r}),)))
print([name for name in sys.modules if name.startswith("opentelemetry.sdk")])
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True
    )

    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("address", ["localhost:4318", "", "http://", "ftp://collector"])
def test_address_that_is_none_is_refused(address: str) -> None:
    with pytest.raises(SettingsError) as refused:
        load_settings(otlp_endpoint=address)

    assert str(refused.value).startswith(
        "Setting `otlp_endpoint`: must be an address such as `http://localhost:4318`; got `"
    )


def test_service_without_the_packages_refuses_the_setting(repository: Path) -> None:
    program = """
import sys
sys.modules["opentelemetry.sdk"] = None
from service.cli import main
main()
"""
    done = subprocess.run(
        [sys.executable, "-c", program, "serve", "--port", "0", "--models", str(repository)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=process.environment(RFVAE_OTLP_ENDPOINT="http://localhost:4318"),
    )

    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "error: Setting `otlp_endpoint`: needs OpenTelemetry, which is not installed; install it "
        "with `pip install 'rfvae[otel]'`, or unset it; got `http://localhost:4318`. Set it with "
        "the option or with `RFVAE_OTLP_ENDPOINT`.\n"
    )


async def test_spans_reach_a_collector(start_service: StartService) -> None:
    bodies: dict[str, bytes] = {}

    class Collector(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            bodies[self.path] = self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Quiet."""

    with HTTPServer(("127.0.0.1", 0), Collector) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        async with start_service(otlp_endpoint=f"http://127.0.0.1:{server.server_port}") as started:
            await started.client.post("/encode", content=as_file(picture()), headers=PNG)
        server.shutdown()

    sent = ExportTraceServiceRequest.FromString(bodies["/v1/traces"])
    scopes = [scope for resource in sent.resource_spans for scope in resource.scope_spans]
    names = {span.name for scope in scopes for span in scope.spans}
    about = {
        item.key: item.value.string_value for item in sent.resource_spans[0].resource.attributes
    }
    assert names == {"POST encode", "batch encode"}
    assert about["service.name"] == "rfvae"


def test_server_ends_well_when_the_collector_is_gone(repository: Path) -> None:
    settings = {"RFVAE_OTLP_ENDPOINT": "http://127.0.0.1:9", "RFVAE_LOG_FORMAT": "json"}

    with process.serve(repository, **settings) as server:
        httpx.post(f"{server.url}/encode", content=as_file(picture()), headers=PNG)
        code, errors = server.end()

    assert code == 0
    assert all(json.loads(line) for line in errors.splitlines())
