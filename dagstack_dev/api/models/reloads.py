"""How reloads went."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any

from pydantic import Field

from dagstack_dev.api.models.base import ErrorReport, Model, Ref


class CallReport(Model):
    """A call of a plugin's method."""

    method: str
    caller: Ref | None = Field(None, description="The plugin that has called it.")
    path: str | None = Field(None, description="Where it was called, or is if it has not ended.")
    line: int | None = None


class SpanReport(Model):
    """One step of a reload."""

    plugin: Ref | None = Field(description="Null for a step of the whole reload.")
    step: str = Field(
        description="debounce, read, prepare, drain, teardown, import, setup or roll_back"
    )
    begin_ms: float = Field(description="Since the reload began.")
    ms: float
    held_by: CallReport | None = Field(
        None, description="Of a drain, the call that ended last, or has not ended."
    )
    reason: str | None = Field(None, description="Why it was taken.")
    error: ErrorReport | None = Field(None, description="Why it failed.")


class PhaseReport(Model):
    """A step of a reload, of whichever plugins: from its first begin to its last end."""

    step: str = Field(description="As of a span.")
    begin_ms: float = Field(description="Since the reload began.")
    ms: float


class PlannedReport(Model):
    """One thing that a plan does with one plugin."""

    plugin: Ref
    action: str = Field(description="tear down, remove, import, set up, wait, fail or reject")
    reason: str


class DiffReport(Model):
    """What was edited in one file."""

    path: str
    text: str | None = Field(
        description="A unified diff without secrets; null for what is no text, or too much."
    )


class Outcome(StrEnum):
    """How a reload has ended; of several parts, the worst."""

    FAILED = "failed"
    ROLLED_BACK = "rolled_back"
    COMMITTED = "committed"
    SKIPPED = "skipped"


class ReloadReport(Model):
    """One reload."""

    id: int
    began: datetime
    ended: datetime
    outcome: Outcome
    duration_ms: float
    paths: list[str] = Field(default_factory=list)
    changed: list[str] = Field(default_factory=list)
    affected: list[str] = Field(default_factory=list)
    reason: str | None = Field(None, description="Why there was nothing to do.")
    errors: dict[str, ErrorReport] = Field(default_factory=dict)
    as_before: list[str] = Field(default_factory=list)
    phases: list[PhaseReport] = Field(default_factory=list)


class ReloadOfPlugin(ReloadReport):
    """The part of a reload with one plugin."""

    spans: list[SpanReport] = Field(
        default_factory=list, description="Those of the plugin and of the whole reload."
    )


class ReloadDetail(ReloadReport):
    """Everything about one reload."""

    spans: list[SpanReport] = Field(default_factory=list)
    plan: list[PlannedReport] = Field(default_factory=list)
    diffs: list[DiffReport] = Field(default_factory=list)


class TraceReport(Model):
    """Reloads in the Trace Event Format, for Perfetto and `chrome://tracing`."""

    traceEvents: list[dict[str, Any]]  # noqa: N815 - as the format calls it
    displayTimeUnit: str = "ms"  # noqa: N815 - likewise


class Reloads(Model):
    """The last reloads, the newest last."""

    reloads: list[ReloadReport]
