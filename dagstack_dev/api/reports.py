"""From what is published to what the API answers."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, TypeVar

from dagstack_dev.api.board import Breath
from dagstack_dev.api.models.base import AccountPart, ErrorReport, Event
from dagstack_dev.api.models.plugins import (
    GenerationReport,
    MainLoop,
    ManifestReport,
    MethodReport,
    PluginDetail,
    PluginReport,
    ReceiptReport,
    StateReport,
)
from dagstack_dev.api.models.reloads import (
    CallReport,
    DiffReport,
    PhaseReport,
    PlannedReport,
    ReloadDetail,
    ReloadOfPlugin,
    ReloadReport,
    SpanReport,
)
from dagstack_dev.core.blame import root_error, summary
from dagstack_dev.core.diffs import text_of
from dagstack_dev.core.errors.base import shown
from dagstack_dev.core.refs import PluginRef
from dagstack_dev.core.reloads import Reload
from dagstack_dev.core.secrets import masked, masked_lines, masked_text
from dagstack_dev.logs import error_fields

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from dagstack_dev.api.board import Numbered
    from dagstack_dev.api.main_loop import Blocked
    from dagstack_dev.api.offers import Offered
    from dagstack_dev.core.snapshot import PluginSnapshot, Receipt, ServerSnapshot
    from dagstack_dev.core.sources import PluginSource
    from dagstack_dev.core.timeline import Call, Edit, Span
    from dagstack_dev.disk.accounts import Part

ReportT = TypeVar("ReportT", bound=PluginReport)

_PLAIN: Final = (str, int, float, list, dict, type(None))


def moment(seconds: float) -> datetime:
    """Return a time in seconds since the epoch as a `datetime`."""
    return datetime.fromtimestamp(seconds, tz=UTC)


def error_report(error: BaseException | None) -> ErrorReport | None:
    """Return an error as type, message and place."""
    return None if error is None else _error_report(error)


def _error_report(error: BaseException) -> ErrorReport:
    return ErrorReport(**masked(error_fields(error)))


def account_report(parts: Iterable[Part]) -> list[AccountPart]:
    """Return what an error is to its reader."""
    return [AccountPart(**asdict(each)) for each in parts]


def _in_words(error: BaseException, who: str) -> str:
    """Return what `who` has failed of, in the words of the terminal, and where."""
    words = masked_text(summary(root_error(error), who))
    found = error_fields(error)
    is_known = not found["line"] or str(found["path"]) in words
    return words if is_known else f"{words} at {found['path']}:{found['line']}"


def refused_report(snapshot: ServerSnapshot) -> dict[str, str]:
    """Return why what is on disk is not in force, where no plugin says that, by path."""
    return {path: _in_words(error, "") for path, error in snapshot.refused.items()}


def receipt_report(snapshot: ServerSnapshot, ref: PluginRef) -> ReceiptReport:
    """Return whether what runs of `ref` is what is on disk."""
    plugin, receipt = snapshot.plugins[ref], snapshot.receipt(ref)
    status, since = plugin.status, plugin.pending_since
    because = [str(each) for each in receipt.chain]
    root = receipt.chain[-1] if receipt.chain else ref
    known = snapshot.plugins.get(root) if isinstance(root, PluginRef) else None
    error = None if known is None else known.status.error
    if because and error is not None:
        because.append(_in_words(error, str(root)))
    elif because and known is None:
        because[-1] = f"{root} does not exist"
    pending = _in_words(status.error, str(ref)) if status.pending and status.error else None
    return ReceiptReport(
        is_current=receipt.is_current,
        generation=status.generation,
        running=receipt.running,
        on_disk=receipt.on_disk,
        reason=_reason(plugin, receipt, pending),
        pending=pending,
        pending_since=moment(since) if since is not None else None,
        because=because,
    )


def _reason(plugin: PluginSnapshot, receipt: Receipt, pending: str | None) -> str | None:
    """Return why a plugin that is ready is not current."""
    if receipt.is_current or receipt.chain:
        return None
    if plugin.has_edit_waiting:
        return "an edit waits; `dagstack-dev resume` takes it in"
    if pending is None and receipt.behind is not None:
        return f"its dependency {receipt.behind} is not what is on disk"
    return pending or "what is on disk has not been taken in yet"


def unknown(report: ReportT) -> ReportT:
    """Return the report of a plugin when the event loop does not answer: edits may wait."""
    reason = None if report.receipt.because else "unknown while the event loop is blocked"
    receipt = report.receipt.model_copy(update={"is_current": False, "reason": reason})
    return report.model_copy(update={"receipt": receipt})


def _plugin_fields(snapshot: ServerSnapshot, ref: PluginRef) -> dict[str, Any]:
    plugin, graph = snapshot.plugins[ref], snapshot.graph
    status = plugin.status
    return {
        "plugin": str(ref),
        "state": str(status.state),
        "since": moment(plugin.since),
        "path": status.path,
        "receipt": receipt_report(snapshot, ref),
        "error": error_report(status.error),
        "stage": None if status.stage is None else str(status.stage),
        "blocked_by": list(status.blocked_by),
        "degraded": status.degraded,
        "requires_restart": status.requires_restart,
        "depends_on": sorted({*map(str, graph.dependencies(ref)), *status.blocked_by}),
        "dependents": sorted(map(str, graph.dependents(ref))),
        "setup_ms": None if plugin.setup_ms is None else round(plugin.setup_ms, 3),
    }


def plugin_report(snapshot: ServerSnapshot, ref: PluginRef) -> PluginReport:
    """Return how one plugin is doing."""
    return PluginReport(**_plugin_fields(snapshot, ref))


async def plugin_detail(
    snapshot: ServerSnapshot,
    ref: PluginRef,
    offered: Offered,
    reloads: Iterable[Reload],
) -> PluginDetail:
    """Return everything about one plugin.

    Args:
        snapshot: all plugins.
        ref: the plugin.
        offered: what it offers and is offered.
        reloads: all reloads, the newest last.
    """
    plugin, breath = snapshot.plugins[ref], Breath()
    found = ([part for part in each.parts if ref in part.affected] for each in reloads)
    concerned = [Reload(tuple(parts)) for parts in found if parts]
    return PluginDetail(
        **_plugin_fields(snapshot, ref),
        manifest=_manifest_report(plugin.running.source),
        resources=list(offered.resources),
        methods=[MethodReport(**asdict(each)) for each in offered.methods],
        panels=[each.panel for each in offered.methods if each.panel],
        history=[
            StateReport(
                state=str(each.state),
                since=moment(each.since),
                reason=masked_text(each.reason),
                error=error_report(each.error),
            )
            for each in plugin.history
        ],
        generations=[
            GenerationReport(
                generation=each.number,
                since=moment(each.since),
                diff=None if each.edits is None else await _diff(each.edits, breath),
            )
            for each in plugin.generations
        ],
        leaks=[*map(masked_text, plugin.leaks)],
        last_reload=await _reload_of(ref, concerned[-1], breath) if concerned else None,
    )


async def _diff(edits: Iterable[Edit], breath: Breath) -> str:
    texts = []
    async for each in breath.between(edits):
        text = text_of(each)
        texts.append(f"{each.path} differs\n" if text is None else text)
    return "".join(texts)


def _manifest_report(source: PluginSource | None) -> ManifestReport | None:
    if source is None or source.manifest is None or source.manifest.content is None:
        return None
    path, text = source.manifest_path, source.manifest.content.decode("utf-8", "replace")
    return ManifestReport(path=path, text="\n".join(masked_lines(text.split("\n"), path)))


async def reload_report(reload: Reload, breath: Breath) -> ReloadReport:
    """Return one reload without its single steps: it may be of ten thousand plugins."""
    return ReloadReport(**await _reload_fields(reload, breath))


async def _reload_of(ref: PluginRef, reload: Reload, breath: Breath) -> ReloadOfPlugin:
    return ReloadOfPlugin(
        **await _reload_fields(reload, breath),
        spans=[
            _span_report(each)
            async for each in breath.between(reload.spans)
            if each.ref is None or each.ref == ref
        ],
    )


async def reload_detail(reload: Reload, breath: Breath) -> ReloadDetail:
    """Return everything about one reload."""
    return ReloadDetail(
        **await _reload_fields(reload, breath),
        spans=[_span_report(each) async for each in breath.between(reload.spans)],
        plan=[
            PlannedReport(plugin=str(each.ref), action=each.action, reason=masked_text(each.reason))
            async for each in breath.between(reload.first.plan)
        ],
        diffs=[
            DiffReport(path=each.path, text=text_of(each))
            async for each in breath.between(reload.first.edits)
        ],
    )


async def _reload_fields(reload: Reload, breath: Breath) -> dict[str, Any]:
    return {
        "id": reload.first.id,
        "began": moment(reload.first.began),
        "ended": moment(reload.ended),
        "outcome": reload.outcome,
        "duration_ms": round(reload.duration_ms, 3),
        "paths": [*reload.first.paths],
        "changed": sorted(map(str, reload.changed)),
        "affected": sorted(map(str, reload.affected)),
        "reason": reload.reason,
        "errors": {str(ref): _error_report(error) for ref, error in reload.errors.items()},
        "as_before": sorted(map(str, reload.as_before)),
        "phases": await _phases(reload, breath),
    }


async def _phases(reload: Reload, breath: Breath) -> list[PhaseReport]:
    found: dict[str, tuple[float, float]] = {}
    async for each in breath.between(span for part in reload.parts for span in part.spans):
        begin, end = found.get(each.step, (each.begin_ms, each.end_ms))
        found[each.step] = min(begin, each.begin_ms), max(end, each.end_ms)
    return [
        PhaseReport(step=step, begin_ms=round(begin, 3), ms=round(end - begin, 3))
        for step, (begin, end) in sorted(found.items(), key=lambda each: each[1])
    ]


def _span_report(span: Span) -> SpanReport:
    return SpanReport(
        plugin=None if span.ref is None else str(span.ref),
        step=span.step,
        begin_ms=round(span.begin_ms, 3),
        ms=round(span.end_ms - span.begin_ms, 3),
        held_by=None if span.held_by is None else _call_report(span.held_by),
        reason=masked_text(span.reason) or None,
        error=error_report(span.error),
    )


def _call_report(call: Call) -> CallReport:
    caller = None if call.caller is None else str(call.caller)
    return CallReport(method=call.method, caller=caller, path=call.path, line=call.line)


def main_loop_report(blocked: Blocked | None) -> MainLoop:
    """Return whether the event loop of the plugins answers."""
    if blocked is None:
        return MainLoop(is_responding=True)
    return MainLoop(
        is_responding=False,
        blocked_seconds=round(blocked.seconds, 3),
        is_at_least=blocked.is_at_least,
        at=blocked.at or None,
        plugin=str(blocked.ref) if blocked.ref is not None else None,
    )


def logged(fields: Mapping[str, object]) -> tuple[str, str, dict[str, Any]]:
    """Return the level, name and fields of what was logged; see `logs.as_event` for facts."""
    others = {name: value for name, value in fields.items() if name != "timestamp"}
    return str(others.pop("level", "info")), str(others.pop("event", "")), others


def event_report(
    published: Numbered[Any], level: str, event: str, fields: Mapping[str, Any]
) -> Event:
    """Return what has happened or was logged: its level, name and fields, without secrets."""
    plain = {
        name: value if isinstance(value, _PLAIN) else shown(value) for name, value in fields.items()
    }
    return Event(
        id=published.id,
        timestamp=moment(published.at),
        level=level,
        event=masked_text(event),
        fields=masked(plain),
    )
