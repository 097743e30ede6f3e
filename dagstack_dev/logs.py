"""Facts as structured log events; their names, levels and fields are listed in docs/logs.md.

Nothing here configures anything or chooses a logger: in an app that is the app's business (see
`host.loggers`), at the terminal `cli.log_stream`'s.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from structlog.processors import NAME_TO_LEVEL

from dagstack_dev.core.blame import blame
from dagstack_dev.core.events import (
    DrainTimedOut,
    EventsMissed,
    Fact,
    HookFailed,
    PluginBlocking,
    PluginDegraded,
    PluginFixed,
    PluginLeaked,
    PluginOverstepped,
    PluginRecovered,
    PluginRejected,
    PluginRequiresRestart,
    PluginRetrying,
    ReloadCommitted,
    ReloadFailed,
    ReloadRolledBack,
    ReloadSkipped,
    ReloadStarted,
    ReloadWaiting,
    TaskFailed,
    TeardownFailed,
    Transition,
    WatchProblem,
    WatchRecovered,
    WatchStarted,
    WatchStopped,
)
from dagstack_dev.core.lifecycle import State

if TYPE_CHECKING:
    from collections.abc import Iterable

    from dagstack_dev.core.refs import PluginRef

LOGGER_NAME: Final = "dagstack_dev"

_LEVELS: Final = {State.BLOCKED: "warning", State.FAILED: "error"}
"""Of transitions; any other is logged as "info", so that no step of a life is missing there."""


class FactLogger:
    """Logs every fact as one event.

    Args:
        logger: of structlog, or what is called like it.
    """

    def __init__(self, logger: Any) -> None:
        self._log = logger

    def __call__(self, fact: Fact, /) -> None:
        """Log one fact."""
        log = self._log.bind()
        if isinstance(fact, Transition) and not _would_log(log, _level_of(fact)):
            return  # Most facts are transitions: where they are filtered out, they cost nothing.
        level, event, fields = as_event(fact)
        getattr(log, level)(event, **fields)


def _would_log(log: Any, level: str) -> bool:
    """Whether `log` lets `level` through, as far as it can tell beforehand."""
    is_enabled_for = getattr(log, "is_enabled_for", None) or getattr(log, "isEnabledFor", None)
    return is_enabled_for is None or is_enabled_for(NAME_TO_LEVEL[level])


def _level_of(fact: Transition) -> str:
    return _LEVELS.get(fact.to_state, "info")


def as_event(fact: Fact) -> tuple[str, str, dict[str, Any]]:
    """The level, name and fields under which `fact` is logged."""
    fields: dict[str, Any]
    match fact:
        case Transition():
            return _level_of(fact), f"plugin.{fact.to_state}", _transition(fact)
        case PluginRejected() | PluginFixed():
            return _source_event(fact)
        case PluginLeaked():
            fields = {
                "plugin": str(fact.ref),
                "generation": fact.generation,
                "holders": list(fact.holders),
                "reload_id": fact.reload_id,
            }
            return "error" if fact.is_error else "warning", "plugin.leaked", fields
        case PluginBlocking():
            fields = {
                "plugin": str(fact.ref),
                "method": fact.method,
                "seconds": round(fact.seconds, 3),
                "path": fact.path,
                "line": fact.line,
            }
            return "warning", "plugin.blocking", fields
        case PluginOverstepped():
            fields = {
                "plugin": str(fact.ref) if fact.ref else None,
                "message": fact.message,
                "path": fact.path,
                "line": fact.line,
            }
            return "warning", "plugin.overstepped", fields
        case PluginDegraded() | PluginRecovered() | PluginRequiresRestart() | PluginRetrying():
            return _health_event(fact)
        case TeardownFailed():
            fields = {
                "plugin": str(fact.ref),
                "generation": fact.generation,
                "reload_id": fact.reload_id,
                "error": error_fields(fact.error),
            }
            return "error", "plugin.teardown_failed", fields
        case DrainTimedOut():
            fields = {
                "plugin": str(fact.ref),
                "calls": fact.calls,
                "seconds": fact.seconds,
                "places": list(fact.places),
                "reload_id": fact.reload_id,
            }
            return "warning", "plugin.drain_timed_out", fields
        case HookFailed():
            fields = {
                "plugin": str(fact.ref),
                "hook": fact.hook,
                "error": error_fields(fact.error),
            }
            return "error", "plugin.hook_failed", fields
        case TaskFailed():
            fields = {
                "plugin": str(fact.ref),
                "task": fact.task,
                "error": error_fields(fact.error),
                "message": fact.message,
            }
            return "error", "plugin.task_failed", fields
        case WatchStarted() | WatchStopped() | WatchProblem() | WatchRecovered() | EventsMissed():
            return _watch_event(fact)
        case ReloadWaiting():
            fields = {
                "reload_id": fact.reload_id,
                "waiting": [
                    {
                        "plugin": str(each.ref),
                        "what": each.what,
                        "seconds": round(each.seconds, 3),
                        "path": each.path,
                        "line": each.line,
                    }
                    for each in fact.waits
                ],
                "more": fact.more,
            }
            return "info", "reload.waiting", fields
        case _:
            return _reload_event(fact)


def _source_event(fact: PluginRejected | PluginFixed) -> tuple[str, str, dict[str, Any]]:
    if isinstance(fact, PluginFixed):
        fields: dict[str, Any] = {
            "plugin": str(fact.ref) if fact.ref else None,
            "path": fact.path,
            "message": fact.message,
            "reload_id": fact.reload_id,
        }
        return "info", "plugin.fixed", fields
    ref = fact.ref or getattr(fact.error, "ref", None)
    fields = {
        "plugin": str(ref) if ref else None,
        "path": fact.path,
        "keeps_generation": fact.keeps_generation,
        "reload_id": fact.reload_id,
        "error": error_fields(fact.error),
    }
    return "error", "plugin.rejected", fields


def _watch_event(
    fact: WatchStarted | WatchStopped | WatchProblem | WatchRecovered | EventsMissed,
) -> tuple[str, str, dict[str, Any]]:
    fields: dict[str, Any]
    match fact:
        case WatchStarted():
            fields = {
                "roots": list(fact.roots),
                "code_roots": list(fact.code_roots),
                "plugins": fact.plugins,
                "ready": fact.ready,
                "polling": fact.polling,
                "duration_ms": _rounded(fact.duration_ms),
            }
            return "info", "watch.started", fields
        case WatchStopped():
            fields = {
                "duration_ms": _rounded(fact.duration_ms),
                "errors": [error_fields(error) for error in fact.errors],
            }
            return "info", "watch.stopped", fields
        case WatchProblem():
            return "warning", "watch.problem", {"message": fact.message, "path": fact.path}
        case WatchRecovered():
            return "info", "watch.recovered", {"message": fact.message, "path": fact.path}
        case EventsMissed():
            return "warning", "events.missed", {"count": fact.count}


def _health_event(
    fact: PluginDegraded | PluginRecovered | PluginRequiresRestart | PluginRetrying,
) -> tuple[str, str, dict[str, Any]]:
    fields: dict[str, Any] = {"plugin": str(fact.ref)}
    match fact:
        case PluginDegraded():
            fields |= {"generation": fact.generation, "error": error_fields(fact.error)}
            return "warning", "plugin.degraded", fields
        case PluginRecovered():
            return "info", "plugin.recovered", fields | {"generation": fact.generation}
        case PluginRequiresRestart():
            fields |= {"generation": fact.generation, "reload_id": fact.reload_id}
            return "warning", "plugin.requires_restart", fields | {"reason": fact.reason}
        case _:
            fields |= {"attempt": fact.attempt, "seconds": fact.seconds}
            return "warning", "plugin.retrying", fields | {"error": error_fields(fact.error)}


def _reload_event(
    fact: ReloadStarted | ReloadCommitted | ReloadRolledBack | ReloadFailed | ReloadSkipped,
) -> tuple[str, str, dict[str, Any]]:
    fields: dict[str, Any] = {"reload_id": fact.reload_id}
    if not isinstance(fact, ReloadStarted):
        fields["duration_ms"] = _rounded(fact.duration_ms)
    if isinstance(fact, ReloadStarted | ReloadSkipped):
        fields["paths"] = list(fact.paths)
    if isinstance(fact, ReloadStarted | ReloadCommitted):
        fields["changed"] = _spelled(fact.changed)
    if not isinstance(fact, ReloadSkipped):
        fields["affected"] = _spelled(fact.affected)
    if isinstance(fact, ReloadRolledBack | ReloadFailed):
        fields["errors"] = {str(ref): error_fields(e) for ref, e in fact.errors.items()}
    match fact:
        case ReloadStarted():
            return "info", "reload.started", fields
        case ReloadCommitted():
            return "info", "reload.committed", fields
        case ReloadRolledBack():
            fields["running"] = {str(ref): number for ref, number in fact.running.items()}
            return "error", "reload.rolled_back", fields
        case ReloadFailed():
            return "error", "reload.failed", fields
        case ReloadSkipped():
            fields |= {"reason": fact.reason, "settled": _spelled(fact.settled)}
            return "info", "reload.skipped", fields


def _transition(fact: Transition) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "plugin": str(fact.ref),
        "from_state": fact.from_state.value if fact.from_state else None,
        "to_state": fact.to_state.value,
        "generation": fact.generation,
        "reload_id": fact.reload_id,
        "duration_ms": _rounded(fact.duration_ms),
        "reason": fact.reason,
    }
    if fact.error is not None:
        fields["error"] = error_fields(fact.error)
    if fact.stage is not None:
        fields["stage"] = fact.stage.value
    if fact.blocked_by:
        fields["blocked_by"] = list(fact.blocked_by)
    return fields


def error_fields(error: BaseException) -> dict[str, Any]:
    """An error as four fields: type, message, path and line."""
    found = blame(error)
    return {
        "type": found.type,
        "message": found.message,
        "path": found.path or _attribute(error, "path", str),
        "line": found.line or _attribute(error, "line", int),
    }


def _attribute(error: BaseException, name: str, kind: type) -> Any:
    """What `error` says of itself, if it does; it may be of any class."""
    try:
        value = getattr(error, name, None)
    except Exception:  # noqa: BLE001 - a property may raise anything
        return None
    return value if type(value) is kind else None


def _spelled(refs: Iterable[PluginRef]) -> list[str]:
    return [str(ref) for ref in refs]


def _rounded(duration_ms: float | None) -> float | None:
    return None if duration_ms is None else round(duration_ms, 3)
