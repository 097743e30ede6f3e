"""Facts as structured log events; their names, levels and fields are listed in docs/logs.md.

Nothing here configures anything or chooses a logger: in an app that is the app's business (see
`host.services.loggers`), at the terminal `cli.log_stream`'s.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields as fields_of
from dataclasses import is_dataclass
from enum import StrEnum
from typing import Any, Final

from structlog.processors import NAME_TO_LEVEL

from dagstack_dev.core import events
from dagstack_dev.core.blame import blame
from dagstack_dev.core.events import Fact, PluginLeaked, PluginRejected, Transition, Wait
from dagstack_dev.core.lifecycle import State
from dagstack_dev.core.refs import PluginRef
from dagstack_dev.core.timeline import Call, Planned

LOGGER_NAME: Final = "dagstack_dev"

_LEVELS: Final = {State.BLOCKED: "warning", State.FAILED: "error"}
"""Of transitions; any other is logged as "info", so that no step of a life is missing there."""


_RENAMED: Final = {"ref": "plugin", "waits": "waiting"}
"""Fields that have another name in the log."""

_NOT_LOGGED: Final = ("is_error", "is_longest", "began", "ended", "looks", "edits")

_FIELDS: Final[dict[type, dict[str, str]]] = {
    kind: {
        each.name: _RENAMED.get(each.name, each.name)
        for each in fields_of(kind)
        if each.name not in _NOT_LOGGED
    }
    for kind in (*vars(events).values(), Call)
    if isinstance(kind, type) and is_dataclass(kind)
}
"""Of every fact: the fields that are logged, and their names in the log."""

_FORMS: Final[dict[type, type[str] | None]] = {
    **dict.fromkeys((str, int, bool, type(None))),
    **dict.fromkeys((PluginRef, State), str),
}
"""What becomes of most values, by their type; None: they are logged as they are."""

_ONLY_OF_SOME: Final = ("error", "stage", "blocked_by")
"""Fields of transitions that are logged only where they say something."""


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
        if not _would_log(log, _level_of(fact)):
            return  # What is filtered out costs nothing.
        level, event, fields = as_event(fact)
        getattr(log, level)(event, **fields)


def _would_log(log: Any, level: str) -> bool:
    """Return whether `log` lets `level` through, as far as that is known beforehand."""
    is_enabled_for = getattr(log, "is_enabled_for", None) or getattr(log, "isEnabledFor", None)
    return is_enabled_for is None or is_enabled_for(NAME_TO_LEVEL[level])


def _level_of(fact: Fact) -> str:
    if isinstance(fact, Transition):
        return _LEVELS.get(fact.to_state, "info")
    return "error" if isinstance(fact, PluginLeaked) and fact.is_error else fact.level


def as_event(fact: Fact) -> tuple[str, str, dict[str, Any]]:
    """Return the level, name and fields under which `fact` is logged."""
    fields = _fields(fact)
    if isinstance(fact, Transition):
        for name in _ONLY_OF_SOME:
            if not fields[name]:
                del fields[name]
        return _level_of(fact), f"plugin.{fact.to_state}", fields
    if isinstance(fact, PluginRejected) and fact.ref is None:
        ref = getattr(fact.error, "ref", None)
        fields["plugin"] = str(ref) if ref else None
    return _level_of(fact), fact.event, fields


def _fields(fact: Fact | Wait | Call) -> dict[str, Any]:
    return {
        shown: value
        if (form := _FORMS.get(type(value := getattr(fact, name)), _plain)) is None
        else form(value)
        for name, shown in _FIELDS[type(fact)].items()
    }


def _plain(value: Any) -> Any:
    """Return `value` of a fact as values that JSON has."""
    match value:
        case PluginRef() | StrEnum():
            return str(value)
        case float():
            return round(value, 3)
        case BaseException():
            return error_fields(value)
        case Planned():
            return {"plugin": str(value.ref), "action": value.action, "reason": value.reason}
        case tuple():
            return [_plain(each) for each in value]
        case Mapping():
            return {str(ref): _plain(each) for ref, each in value.items()}
        case Wait() | Call():
            return _fields(value)
        case _:
            return value


def error_fields(error: BaseException) -> dict[str, Any]:
    """Return an error as four fields: type, message, path and line."""
    found = blame(error)
    return {
        "type": found.type,
        "message": found.message,
        "path": found.path or _attribute(error, "path", str),
        "line": found.line or _attribute(error, "line", int),
    }


def _attribute(error: BaseException, name: str, kind: type) -> Any:
    """Return what `error` says of itself, if it does; it may be of any class."""
    try:
        value = getattr(error, name, None)
    except Exception:  # noqa: BLE001 - a property may raise anything
        return None
    return value if type(value) is kind else None
