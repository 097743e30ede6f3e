"""One log event as one line: for a person, as JSON, as logfmt."""

from __future__ import annotations

import json
import linecache
import logging
import sys
import time
import traceback
from collections.abc import Mapping
from contextlib import suppress
from enum import StrEnum
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

import structlog
from rich.text import Text
from structlog.processors import NAME_TO_LEVEL

from dagstack_dev.cli.excerpts import explain
from dagstack_dev.cli.output import printable, printable_json
from dagstack_dev.core.blame import related
from dagstack_dev.core.errors.base import in_words, shown
from dagstack_dev.core.secrets import masked, masked_text, may_hold
from dagstack_dev.disk.accounts import texts_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rich.console import Console
    from structlog.typing import EventDict, ExcInfo, Processor

_FIRST_KEYS: Final = ("timestamp", "level", "event", "plugin")


class LogFormat(StrEnum):
    """How log lines look."""

    CONSOLE = "console"
    JSON = "json"
    LOGFMT = "logfmt"


class LineFormatter:
    """Makes a line of any event, even one with values that cannot be written.

    Args:
        form: of the line.
        console: knows about colours, for the form `console`.
    """

    def __init__(self, form: LogFormat, console: Console) -> None:
        self._renderers = _renderers(form, console)

    def line(self, event: EventDict) -> str:
        """Return the line of an event that has gone through the processors, without its end."""
        try:
            return self._rendered(dict(event))
        except BaseException as broken:  # noqa: BLE001 - whatever the __str__ of a value raises
            in_text = {
                key: value if key == "_record" else as_text(value) for key, value in event.items()
            }
            return self._rendered(in_text | {"note": note(broken)})

    def _rendered(self, event: EventDict) -> str:
        line: Any = event
        for renderer in self._renderers:
            line = renderer(None, "", line)
        return str(line)


def note(broken: BaseException) -> str:
    """Return what is said of an event of which something cannot be written."""
    return f"not written as meant: {in_words(broken)}"


def as_text(value: object) -> str:
    """Return a text as it is, and what `repr` makes of anything else."""
    return value if isinstance(value, str) else shown(value)


def _renderers(form: LogFormat, console: Console) -> list[Processor]:
    match form:
        case LogFormat.CONSOLE:
            return [_ConsoleLine(console)]
        case LogFormat.JSON:
            return [
                _forget_record,
                with_traceback,
                lambda _, __, event: _json(event),
            ]
        case LogFormat.LOGFMT:
            return [
                _forget_record,
                with_traceback,
                _without_secrets,
                _flatten,
                structlog.processors.LogfmtRenderer(
                    key_order=_FIRST_KEYS, drop_missing=True, bool_as_flag=False
                ),
                lambda _, __, line: printable(str(line)),
            ]


def _forget_record(_: object, __: str, event: EventDict) -> EventDict:
    """Remove what `ProcessorFormatter` adds to the events that come as records."""
    event.pop("_record", None)
    event.pop("_from_structlog", None)
    return event


def _traceback(exc_info: ExcInfo) -> str:
    """Return the whole traceback with the lines that ran, which the files may have no more."""
    texts: dict[str, Sequence[str]] = {}
    for error in related(exc_info[1]):
        texts = {**texts_of(error), **texts}
    pinned = {
        path: (0, None, [f"{line}\n" for line in lines], path)
        for path, lines in texts.items()
        if lines
    }
    before = {path: linecache.cache.get(path) for path in pinned}
    linecache.cache.update(pinned)
    try:
        return "".join(traceback.format_exception(exc_info[1])).rstrip("\n")
    finally:
        for path, entry in before.items():
            if entry is None:
                linecache.cache.pop(path, None)
            else:
                linecache.cache[path] = entry


with_traceback: Final = structlog.processors.ExceptionRenderer(_traceback)
"""Puts the whole traceback of an error into an event, as `exception`."""


def _without_secrets(_: object, __: str, event: EventDict) -> EventDict:
    secretless: EventDict = masked(event)
    return secretless


class _ConsoleLine:
    """`11:00:03 clock/ticker  tick  greeting='Hello, world!'`, for a person."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def __call__(self, _: Any, __: str, event: EventDict) -> str:
        record: logging.LogRecord | None = event.get("_record")
        _forget_record(_, __, event)
        event.pop("timestamp", None)
        level = event.pop("level", None)
        if record is None:
            created, severity = time.time(), NAME_TO_LEVEL[level]
        else:  # It may have a level of its own.
            created, severity, level = record.created, record.levelno, record.levelname.lower()
        logger, plugin = event.pop("logger", ""), event.pop("plugin", None)
        exc_info, stack = event.pop("exc_info", None), event.pop("stack", None)
        event = dict(masked(event))
        clock = time.strftime("%H:%M:%S ", time.localtime(created))
        line = Text.assemble((clock, "dim"), (str(plugin or logger), "cyan" if plugin else "dim"))
        if severity >= logging.WARNING:
            style = "yellow" if severity < logging.ERROR else "bold red"
            line.append("  ").append(level, style)
        line.append("  ").append(_indented(str(event.pop("event", ""))))
        for key, value in event.items():
            line.append(f"  {key}=", "dim").append(_value(value))
        if (error := _exception(exc_info)) is not None:
            for each in explain(error):
                line.append("\n    ").append(each)
        if stack:
            line.append(_indented(f"\n{stack}"), "dim")
        with self._console.capture() as captured:
            self._console.print(line, soft_wrap=True, end="")
        return captured.get()


def _indented(text: str) -> str:
    return text.rstrip("\n").replace("\n", "\n    ")


def _value(value: object) -> str:
    if isinstance(value, str) and value.isprintable() and not set(value) & set(" ='\""):
        return value or "''"
    return shown(value)


def _exception(exc_info: object) -> BaseException | None:
    match exc_info:
        case BaseException():
            return exc_info
        case (_, BaseException() as error, _):
            return error
        case True:
            return sys.exception()
        case _:
            return None


def _json(event: Mapping[str, Any]) -> str:
    """Return one line of JSON without secrets.

    To go through every field takes half the time of a line, and hardly any has a secret.
    """
    ordered = {key: event[key] for key in _FIRST_KEYS if key in event} | dict(event)
    with suppress(BaseException):  # Odd keys, a circle, a NaN.
        line = _ENCODER.encode(ordered)
        if not may_hold(line):
            return printable_json(line)
    return printable_json(_encoded(masked(ordered)))


def _encoded(event: Mapping[str, Any]) -> str:
    try:
        return _ENCODER.encode(event)
    except BaseException:  # noqa: BLE001 - (the same)
        return _ENCODER.encode({as_text(key): _plain(value) for key, value in event.items()})


def _plain(value: object) -> object:
    try:
        _ENCODER.encode(value)
    except BaseException:  # noqa: BLE001 - (the same)
        return shown(value)
    return value


def _json_value(value: object) -> object:
    """Return what stands for a value that JSON does not know."""
    return masked(value) if isinstance(value, Mapping) else shown(value)


_ENCODER: Final = json.JSONEncoder(ensure_ascii=False, allow_nan=False, default=_json_value)


def _flatten(_: object, __: str, event: EventDict) -> EventDict:
    """Nested fields as one level, for a format that knows no nesting."""
    return dict(_leaves("", event))


@lru_cache(maxsize=1024)
def _one_word(key: str) -> str:
    """Return `key` without what ends a key in logfmt; most keys come with every event."""
    return "".join("_" if char <= " " or char in '="' else char for char in key)


def _leaves(prefix: str, values: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        name = prefix + _one_word(str(key))
        if isinstance(value, dict):
            yield from _leaves(f"{name}_", value)
        elif isinstance(value, list | tuple) and all(isinstance(item, dict) for item in value):
            yield from _leaves(f"{name}_", {str(index): item for index, item in enumerate(value)})
        elif isinstance(value, list | tuple):
            yield name, masked_text(",".join(map(str, value)))
        elif value is None or isinstance(value, bool | int | float):
            yield name, value
        else:
            text = value if isinstance(value, str) else masked_text(str(value))
            yield name, text.replace("\r", "\\r")
