"""Facts as structured log events, and the log stream of the command line.

`FactLogger` logs through structlog as whoever runs the process has configured it. Only
`configure_logging`, called by the command line alone, configures anything.
"""

from __future__ import annotations

import logging
import sys
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

import structlog
from structlog.stdlib import ProcessorFormatter

from dagstack_dev.core.blame import NAMESPACE, blame
from dagstack_dev.core.events import (
    DrainTimedOut,
    Fact,
    PluginBlocking,
    PluginLeaked,
    PluginRejected,
    ReloadCommitted,
    ReloadFailed,
    ReloadRolledBack,
    ReloadSkipped,
    ReloadStarted,
    TeardownFailed,
    Transition,
    WatchProblem,
    WatchStarted,
    WatchStopped,
)
from dagstack_dev.core.lifecycle import State

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from structlog.typing import EventDict, Processor

    from dagstack_dev.core.refs import PluginRef

LOGGER_NAME: Final = "dagstack_dev"

_LEVELS: Final = {
    State.READY: "info",
    State.REMOVED: "info",
    State.BLOCKED: "warning",
    State.FAILED: "error",
}


class FactLogger:
    """Logs every fact as one event; the names and fields are documented in docs/logs.md."""

    def __init__(self) -> None:
        self._log = structlog.stdlib.get_logger(LOGGER_NAME)

    def __call__(self, fact: Fact, /) -> None:
        """Log one fact."""
        level, event, fields = as_event(fact)
        getattr(self._log, level)(event, **fields)


def as_event(fact: Fact) -> tuple[str, str, dict[str, Any]]:
    """The level, name and fields under which `fact` is logged."""
    fields: dict[str, Any]
    match fact:
        case Transition():
            return _LEVELS.get(fact.to_state, "debug"), f"plugin.{fact.to_state}", _transition(fact)
        case PluginRejected():
            fields = {
                "plugin": str(fact.ref) if fact.ref else None,
                "path": fact.path,
                "keeps_generation": fact.keeps_generation,
                "reload_id": fact.reload_id,
                "error": error_fields(fact.error),
            }
            return "warning", "plugin.rejected", fields
        case PluginLeaked():
            fields = {
                "plugin": str(fact.ref),
                "generation": fact.generation,
                "holders": list(fact.holders),
                "reload_id": fact.reload_id,
            }
            return "warning", "plugin.leaked", fields
        case PluginBlocking():
            fields = {
                "plugin": str(fact.ref),
                "method": fact.method,
                "seconds": round(fact.seconds, 3),
                "path": fact.path,
                "line": fact.line,
            }
            return "warning", "plugin.blocking", fields
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
                "reload_id": fact.reload_id,
            }
            return "warning", "plugin.drain_timed_out", fields
        case WatchStarted():
            fields = {
                "roots": list(fact.roots),
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
        case _:
            return _reload_event(fact)


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
            return "debug", "reload.skipped", {**fields, "reason": fact.reason}


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
        "path": found.path,
        "line": found.line,
    }


def _spelled(refs: Iterable[PluginRef]) -> list[str]:
    return [str(ref) for ref in refs]


def _rounded(duration_ms: float | None) -> float | None:
    return None if duration_ms is None else round(duration_ms, 3)


class LogFormat(StrEnum):
    """How log lines look."""

    CONSOLE = "console"
    JSON = "json"
    LOGFMT = "logfmt"


def configure_logging(
    *,
    form: LogFormat,
    level: str,
    file: str | None = None,
    plugin_of_path: Callable[[str], str | None] = lambda _: None,
) -> None:
    """Send structlog and the standard `logging` into one stream, on standard output.

    Args:
        form: of the lines on standard output. In `console`, a terminal view shows what happens,
            so facts themselves are logged only at level `debug`.
        level: the lowest level that is logged, by name.
        file: a file to append the whole stream to, as logfmt if that is `form`, else as JSON.
        plugin_of_path: tells which plugin a source file belongs to, to bind what it logs.

    Raises:
        OSError: `file` cannot be opened.
    """
    number = logging.getLevelNamesMapping()[level.upper()]
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="%Y-%m-%dT%H:%M:%S.%fZ", utc=True),
        structlog.processors.StackInfoRenderer(),
    ]
    structlog.configure(
        processors=[*shared, ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    foreign: list[Processor] = [
        *shared,
        structlog.stdlib.ExtraAdder(),
        _BindPlugin(plugin_of_path),
    ]
    terminal = logging.StreamHandler(sys.stdout)
    terminal.setFormatter(_formatter(form, foreign))
    if form is LogFormat.CONSOLE and number > logging.DEBUG:
        terminal.addFilter(lambda record: record.name != LOGGER_NAME)
    handlers: list[logging.Handler] = [terminal]
    if file is not None:
        to_file = logging.FileHandler(file, encoding="utf-8")
        form = LogFormat.LOGFMT if form is LogFormat.LOGFMT else LogFormat.JSON
        to_file.setFormatter(_formatter(form, foreign))
        handlers.append(to_file)
    root = logging.getLogger()
    root.handlers[:] = handlers
    root.setLevel(number)
    logging.captureWarnings(capture=True)
    for noisy in ("watchfiles", "asyncio"):
        logging.getLogger(noisy).setLevel(max(number, logging.WARNING))


def _formatter(form: LogFormat, foreign: list[Processor]) -> ProcessorFormatter:
    renderers: list[Processor]
    match form:
        case LogFormat.CONSOLE:
            renderers = [
                _flatten_errors,
                structlog.dev.ConsoleRenderer(colors=sys.stdout.isatty(), pad_event_to=24),
            ]
        case LogFormat.JSON:
            renderers = [
                structlog.processors.format_exc_info,
                structlog.processors.JSONRenderer(ensure_ascii=False),
            ]
        case LogFormat.LOGFMT:
            renderers = [
                structlog.processors.format_exc_info,
                _flatten_errors,
                structlog.processors.LogfmtRenderer(
                    key_order=["timestamp", "level", "event", "plugin"], bool_as_flag=False
                ),
            ]
    return ProcessorFormatter(
        foreign_pre_chain=foreign,
        processors=[ProcessorFormatter.remove_processors_meta, *renderers],
    )


class _BindPlugin:
    """Binds a standard log record with the plugin whose code made it."""

    def __init__(self, plugin_of_path: Callable[[str], str | None]) -> None:
        self._plugin_of_path = plugin_of_path

    def __call__(self, _: object, __: str, event: EventDict) -> EventDict:
        record: logging.LogRecord | None = event.get("_record")
        if record is None or hasattr(record, "plugin"):
            return event
        parts = record.name.split(".")
        if parts[0].startswith(NAMESPACE) and len(parts) > 2:  # noqa: PLR2004 - kind and name
            event["plugin"] = f"{parts[1]}/{parts[2]}".replace("%2E", ".")
        elif (found := self._plugin_of_path(record.pathname)) is not None:
            event["plugin"] = found
        return event


def _flatten_errors(_: object, __: str, event: EventDict) -> EventDict:
    """Nested fields as one level, for formats that know no nesting."""
    for key, value in list(event.items()):
        if isinstance(value, dict):
            del event[key]
            event.update({f"{key}_{name}": inner for name, inner in _leaves(value)})
        elif isinstance(value, list | tuple):
            event[key] = ",".join(str(item) for item in value)
    return event


def _leaves(values: Mapping[str, Any]) -> Iterable[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, dict):
            yield from ((f"{key}_{name}", inner) for name, inner in _leaves(value))
        else:
            yield key, value
