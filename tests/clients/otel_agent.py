"""An agent that is traced by the OpenTelemetry SDK for Python, as its instrumentations do it.

usage: otel_agent.py grpc|http ENDPOINT [--traces N] [--exports N] [--token TOKEN] [--ca FILE] [--gzip]
       [--piecewise]

Runs the agent N times, and exports the spans of each run N times in all: first by the SDK's own processor, as they end, then
again and in the other order. With --piecewise each span is a request of its own. Prints a JSON object for each run: the
trace, the spans by their names, and what came of the exports.
"""

import argparse
import json
import sys

import grpc
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as OverGrpc
from opentelemetry.exporter.otlp.proto.http import Compression as HttpCompression
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as OverHttp
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import (
    BatchSpanProcessor,
    SimpleSpanProcessor,
    SpanExporter,
    SpanExportResult,
)
from opentelemetry.trace import Link, SpanKind, Status, StatusCode

# An election, and the waits between the tries of an export.
TIMEOUT_S = 60
FLUSH_MS = 90_000
QUESTION = "wake me up at seven tomorrow morning"


def exporter(arguments: argparse.Namespace) -> SpanExporter:
    headers = {"authorization": f"Bearer {arguments.token}"} if arguments.token else {}
    if arguments.protocol == "grpc":
        credentials = None
        if arguments.ca:
            with open(arguments.ca, "rb") as file:
                credentials = grpc.ssl_channel_credentials(file.read())
        return OverGrpc(
            endpoint=arguments.endpoint,
            insecure=credentials is None,
            credentials=credentials,
            headers=headers,
            timeout=TIMEOUT_S,
            compression=grpc.Compression.Gzip if arguments.gzip else None,
        )
    return OverHttp(
        endpoint=f"{arguments.endpoint}/v1/traces",
        certificate_file=arguments.ca,
        headers=headers,
        timeout=TIMEOUT_S,
        compression=HttpCompression.Gzip if arguments.gzip else None,
    )


class Recorder(SpanExporter):
    """Passes spans on, and keeps them."""

    def __init__(self, inner: SpanExporter) -> None:
        self.inner = inner
        self.spans = []
        self.results = []

    def export(self, spans):
        self.spans.extend(spans)
        result = self.inner.export(spans)
        self.results.append(result.name)
        return result

    def shutdown(self) -> None:
        self.inner.shutdown()

    def take(self):
        taken = self.spans, self.results
        self.spans, self.results = [], []
        return taken


def chat(tracer, text: str, answer: str, links=()) -> None:
    with tracer.start_as_current_span(
        "chat small-model",
        kind=SpanKind.CLIENT,
        links=links,
        attributes={
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": "example",
            "gen_ai.request.model": "small-model",
            "gen_ai.request.temperature": 0.2,
            "gen_ai.response.finish_reasons": ["stop"],
            "gen_ai.usage.input_tokens": 12,
        },
    ) as span:
        messages = [{"role": "user", "parts": [{"type": "text", "content": text}]}]
        span.set_attribute("gen_ai.input.messages", json.dumps(messages))
        answers = [{"role": "assistant", "parts": [{"type": "text", "content": answer}]}]
        span.set_attribute("gen_ai.output.messages", json.dumps(answers))


def tool(tracer, name: str) -> None:
    with tracer.start_as_current_span(
        f"execute_tool {name}",
        attributes={
            "gen_ai.operation.name": "execute_tool",
            "gen_ai.tool.name": name,
            "gen_ai.tool.call.id": "call-1",
            "gen_ai.tool.call.arguments": '{"at": "07:00"}',
        },
    ) as span:
        with tracer.start_as_current_span("POST /alarms", kind=SpanKind.CLIENT) as request:
            request.add_event("retried", {"attempt": 2})
            request.set_status(Status(StatusCode.ERROR, "no answer"))
        span.set_attribute("gen_ai.tool.call.result", '{"set": true}')


def run_agent(tracer, before) -> tuple:
    """One run, linked to the one before; its context."""
    with tracer.start_as_current_span(
        "invoke_agent assistant",
        attributes={
            "gen_ai.operation.name": "invoke_agent",
            "gen_ai.agent.name": "assistant",
            "gen_ai.conversation.id": "conversation-1",
        },
    ) as agent:
        chat(tracer, QUESTION, "call set_alarm", [Link(before)] if before else [])
        tool(tracer, "set_alarm")
        with tracer.start_as_current_span(
            "chat large-model", attributes={"gen_ai.operation.name": "chat"}
        ):
            pass
        return agent.get_span_context()


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("protocol", choices=["grpc", "http"])
    parser.add_argument("endpoint")
    parser.add_argument("--traces", type=int, default=1)
    parser.add_argument("--exports", type=int, default=2)
    parser.add_argument("--token")
    parser.add_argument("--ca")
    parser.add_argument("--gzip", action="store_true")
    parser.add_argument("--piecewise", action="store_true")
    arguments = parser.parse_args()

    recorder = Recorder(exporter(arguments))
    provider = TracerProvider(
        resource=Resource.create({"service.name": "assistant", "service.version": "1"})
    )
    processor = SimpleSpanProcessor if arguments.piecewise else BatchSpanProcessor
    provider.add_span_processor(processor(recorder))
    tracer = provider.get_tracer("otel_agent", "1")

    context = None
    for _ in range(arguments.traces):
        context = run_agent(tracer, context)
        flushed = provider.force_flush(FLUSH_MS)
        spans, results = recorder.take()
        for _ in range(arguments.exports - 1):
            spans = list(reversed(spans))
            parts = [[span] for span in spans] if arguments.piecewise else [spans]
            results += [recorder.inner.export(part).name for part in parts]
        named = {span.name: format(span.context.span_id, "016x") for span in spans}
        print(
            json.dumps(
                {
                    "trace_id": format(context.trace_id, "032x"),
                    "spans": named,
                    "results": results,
                    "is_stored": flushed and set(results) == {SpanExportResult.SUCCESS.name},
                }
            ),
            flush=True,
        )
    provider.shutdown()
    return 0


if __name__ == "__main__":
    sys.exit(main())
