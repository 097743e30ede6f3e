"""Reloads as spans of OpenTelemetry, in a process that traces."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from dagstack_dev._version import __version__
from dagstack_dev.core.events import ReloadFailed, ReloadRolledBack, ReloadSkipped
from dagstack_dev.core.secrets import masked
from dagstack_dev.logs import error_fields

if TYPE_CHECKING:
    from collections.abc import Mapping

    from opentelemetry.trace import Span as OpenSpan

    from dagstack_dev.core.reloads import ReloadRecord
    from dagstack_dev.core.timeline import Span


def export(record: ReloadRecord) -> None:
    """Make a span of a reload, with one for each of its steps within.

    Where nothing has imported OpenTelemetry, nothing has set up where spans go: then it is not
    imported here either.
    """
    if "opentelemetry.trace" not in sys.modules:
        return
    from opentelemetry import trace  # noqa: PLC0415 - only where the app has brought it
    from opentelemetry.context import Context  # noqa: PLC0415 - likewise

    tracer = trace.get_tracer("dagstack-dev", __version__)
    began = int(record.began * 1e9)
    root = tracer.start_span(
        "reload", Context(), attributes=masked(_about(record)), start_time=began
    )
    if root.is_recording():
        around = trace.set_span_in_context(root, Context())
        for step in record.spans:
            span = tracer.start_span(
                step.step,
                around,
                attributes=masked(_about_step(step)),
                start_time=began + int(step.begin_ms * 1e6),
            )
            ended = began + int(step.end_ms * 1e6)
            if step.error is not None:
                _note(span, step.error, ended)
            span.end(ended)
    ended = began + int(record.fact.duration_ms * 1e6)
    if isinstance(record.fact, ReloadRolledBack | ReloadFailed):
        for error in record.fact.errors.values():
            _note(root, error, ended)
    root.end(ended)


def _note(span: OpenSpan, error: BaseException, at: int) -> None:
    """Record an error, by the conventions for exceptions, but without what is secret in it."""
    from opentelemetry.trace import StatusCode  # noqa: PLC0415 - likewise

    found: Mapping[str, Any] = masked(error_fields(error))
    span.set_attribute("error.type", found["type"])
    span.set_status(StatusCode.ERROR, found["message"])
    exception = {"exception.type": found["type"], "exception.message": found["message"]}
    span.add_event("exception", exception | _place(found["path"], found["line"]), at)


def _about(record: ReloadRecord) -> dict[str, Any]:
    found: dict[str, Any] = {
        "dagstack.reload.id": record.id,
        "dagstack.reload.outcome": record.fact.event.removeprefix("reload."),
        "dagstack.reload.paths": record.paths,
        "dagstack.reload.plugins": len(record.affected),
    }
    if isinstance(record.fact, ReloadSkipped):
        found["dagstack.reload.reason"] = record.fact.reason
    return found


def _about_step(span: Span) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if span.ref is not None:
        found["dagstack.plugin"] = str(span.ref)
        found["dagstack.reload.reason"] = span.reason
    if span.held_by is not None:
        found["code.function.name"] = span.held_by.method
        found |= _place(span.held_by.path, span.held_by.line)
        found["dagstack.caller"] = str(span.held_by.caller or "")
    return {name: value for name, value in found.items() if value}


def _place(path: str | None, line: int | None) -> dict[str, Any]:
    return {"code.file.path": path, "code.line.number": line} if path and line else {}
