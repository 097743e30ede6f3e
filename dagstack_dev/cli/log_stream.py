"""The log stream of the command line: everything that anything logs, in one form."""

from __future__ import annotations

import copy
import logging
import os
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import structlog
from structlog.processors import NAME_TO_LEVEL, CallsiteParameter, CallsiteParameterAdder
from structlog.stdlib import ProcessorFormatter

from dagstack_dev.cli.log_lines import LineFormatter, LogFormat, as_text, note, with_traceback
from dagstack_dev.cli.output import OutputFile, say
from dagstack_dev.cli.repeats import Repeats
from dagstack_dev.core.blame import NAMESPACE
from dagstack_dev.core.errors.base import in_words, shown
from dagstack_dev.logs import LOGGER_NAME, as_event

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager

    from rich.console import Console
    from structlog.typing import EventDict, Processor

    from dagstack_dev.core.events import Fact
    from dagstack_dev.core.refs import PluginRef


class LogStream:
    """One stream for what the server, its plugins and their libraries log.

    What the server itself logs, and `ctx.logger`, go straight into it, past every logger that
    others know: no `logging.basicConfig(force=True)`, `logging.disable` or `structlog.configure`
    of a plugin silences them. Every other logger is the process's own, and a plugin may turn it
    off.

    Args:
        form: of the lines on standard output. In `console`, a terminal view shows what happens,
            so facts themselves are logged only at level `debug`, and so is what a plugin that is
            tried again has logged before.
        level: the lowest level that is logged, by name.
        console: standard output; knows about colours, for the form `console`.
        file: a file to append the whole stream to, as logfmt if that is `form`, else as JSON.
        plugin_of_path: returns the plugin that a source file belongs to, to bind what it logs.
        publish: called with the fields of every event, as plain values.
        can_change: whether `level` can be set later; every event below it then costs a little.
    """

    def __init__(
        self,
        *,
        form: LogFormat,
        level: str,
        console: Console,
        file: OutputFile | None = None,
        plugin_of_path: Callable[[str], PluginRef | None] = lambda _: None,
        publish: Callable[[dict[str, object]], object] | None = None,
        can_change: bool = False,
    ) -> None:
        self._level = NAME_TO_LEVEL[level.lower()]
        least = logging.DEBUG if can_change else self._level
        self._wrapper = structlog.make_filtering_bound_logger(least)
        self._first: list[Processor] = [self._drop_below] if can_change else []
        self._processors: list[Processor] = [
            _BindPlugin(plugin_of_path),
            structlog.contextvars.merge_contextvars,
            structlog.stdlib.add_log_level,
            structlog.stdlib.add_logger_name,
            _stamp,
            structlog.processors.StackInfoRenderer(),
        ]
        self._records = _Records([structlog.stdlib.ExtraAdder(), *self._processors], self._write)
        self._publish = publish
        self._file = file
        self._console_file = console.file
        self._shows_all = form is not LogFormat.CONSOLE
        self._repeats = Repeats()
        self._line = LineFormatter(form, console).line
        file_form = LogFormat.LOGFMT if form is LogFormat.LOGFMT else LogFormat.JSON
        self._file_line = LineFormatter(file_form, console).line

    @property
    def level(self) -> str:
        """The lowest level that is logged."""
        return logging.getLevelName(self._level).lower()

    @level.setter
    def level(self, name: str) -> None:
        self._level = NAME_TO_LEVEL[name]
        self._set_levels()

    def _write(self, name: str, event: EventDict) -> None:
        """Write one event of the logger called `name`, wherever it is wanted."""
        with self._records.locked():
            if self._publish is not None:
                self._publish(_published(event))
            if self._file is not None:
                _write_line(self._file, name, self._file_line, event)
            if self._shows(name, event):
                _write_line(self._console_file, name, self._line, event)

    def _shows(self, name: str, event: EventDict) -> bool:
        """Return whether an event is seen on standard output."""
        if self._shows_all or self._level <= logging.DEBUG:
            return True
        is_record = "_record" in event
        return name != LOGGER_NAME and (is_record or not self._repeats.is_known(event))

    def _drop_below(self, _: object, method: str, event: EventDict) -> EventDict:
        if NAME_TO_LEVEL[method] < self._level:
            raise structlog.DropEvent
        return event

    def logger(self, name: str) -> Any:
        """Return a structlog logger that writes into the stream, whatever plugins do to logging."""
        logger = structlog.wrap_logger(
            _EventWriter(name, self._write),
            processors=[*self._first, *self._processors, _as_argument],
            wrapper_class=self._wrapper,
        )
        return logger.bind()

    def write_fact(self, fact: Fact, /) -> None:
        """Write a fact; no processor has anything to add to it."""
        self._repeats(fact)
        level, name, fields = as_event(fact)
        if NAME_TO_LEVEL[level] >= self._level:
            event = _stamp(
                None, "", {**fields, "event": name, "level": level, "logger": LOGGER_NAME}
            )
            self._write(LOGGER_NAME, event)

    def take_all(self) -> None:
        """Send what goes through structlog and the standard `logging` into the stream, too."""
        structlog.configure(
            processors=[*self._first, *self._processors, ProcessorFormatter.wrap_for_formatter],
            wrapper_class=self._wrapper,
            logger_factory=structlog.stdlib.LoggerFactory(),
            cache_logger_on_first_use=True,
        )
        root = logging.getLogger()
        root.handlers[:] = [self._records]
        logging.captureWarnings(capture=True)
        self._set_levels()

    def _set_levels(self) -> None:
        logging.getLogger().setLevel(self._level)
        for noisy in ("watchfiles", "asyncio", "httpx2", "mcp"):
            logging.getLogger(noisy).setLevel(max(self._level, logging.WARNING))


def open_log_file(path: str) -> OutputFile:
    """Open a file to append to; one that is made is for its owner alone.

    Raises:
        OSError: it cannot be opened.
    """
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    return OutputFile(descriptor, f"--log-file {path}")


class _Records(logging.Handler):
    """Makes events of what goes through the standard `logging`; nothing is raised there.

    Args:
        processors: what to do with records that do not come from structlog.
        write: called with the name of a logger and an event of it.
    """

    def __init__(
        self, processors: Sequence[Processor], write: Callable[[str, EventDict], None]
    ) -> None:
        super().__init__()
        self._write = write
        self._formatter = ProcessorFormatter(
            foreign_pre_chain=processors, processors=[lambda _, __, event: self._take(event)]
        )
        self._made: EventDict = {}

    def locked(self) -> AbstractContextManager[object]:
        """Return the lock under which all lines are written; a child that is forked has its own."""
        assert self.lock is not None  # noqa: S101 - every handler makes one
        return self.lock

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record; `handle` has taken the lock."""
        try:
            self._formatter.format(record)
        except BaseException as broken:  # noqa: BLE001 - whatever the __str__ of an argument raises
            record = copy.copy(record)
            record.msg, record.args = f"{as_text(record.msg)} ({note(broken)})", None
            self._formatter.format(record)
        event, self._made = self._made, {}
        self._write(record.name, event)

    def _take(self, event: EventDict) -> str:
        self._made = event
        return ""


def _write_line(file: Any, name: str, line: Callable[[EventDict], str], event: EventDict) -> None:
    """Write an event as a line; what goes wrong is reported, and nothing raised."""
    try:
        file.write(f"{line(event)}\n")
    except Exception as error:  # noqa: BLE001 - logging must not raise
        say(f"an event of {name} is lost: {in_words(error)}")


def _published(event: EventDict) -> dict[str, object]:
    """Return an event in plain values; of what it holds nothing is kept alive."""
    with suppress(BaseException):  # What it has instead is shown as any other value.
        event = with_traceback(None, "", {**event})
    return {
        _text(key): _plain_or_shown(value)
        for key, value in event.items()
        if not key.startswith("_")
    }


def _plain_or_shown(value: object) -> object:
    """Return `value` in plain values, or its text where that is not possible."""
    try:
        return _plain(value)
    except BaseException:  # noqa: BLE001 - a circle, or whatever the __str__ of a key raises
        return shown(value)


def _plain(value: Any) -> object:
    """Return `value`, or its text where JSON has no form for it.

    Nothing of it is of a class of the plugin, such as a `StrEnum`: that would keep it alive.
    """
    match value:
        case None | bool():
            return value
        case str():
            return _text(value)
        case int():
            return int.__int__(value)
        case float():
            return float.__float__(value)
        case list() | tuple():
            return [*map(_plain, value)]
        case dict():
            return {_text(key): _plain(each) for key, each in value.items()}
        case _:
            return _text(shown(value))


def _text(value: object) -> str:
    """Return the text of `value`, of the very class `str`."""
    return str.__str__(value if isinstance(value, str) else str(value))


class _EventWriter:
    """What a logger writes to: its events need no `LogRecord`."""

    def __init__(self, name: str, write: Callable[[str, EventDict], None]) -> None:
        self.name = name
        self._write = write

    def msg(self, event: EventDict) -> None:
        """Write one event, whatever its level."""
        self._write(self.name, event)

    debug = info = warning = error = critical = msg


def _stamp(_: object, __: str, event: EventDict) -> EventDict:
    """Return `2026-03-07T11:00:03.000000Z`; `strftime` takes several times as long."""
    now = datetime.now(tz=UTC).isoformat(timespec="microseconds")
    event["timestamp"] = now.replace("+00:00", "Z")
    return event


def _as_argument(_: object, __: str, event: EventDict) -> tuple[tuple[EventDict], dict[str, Any]]:
    return (event,), {}


class _BindPlugin:
    """Binds what is logged with the plugin whose code logs it.

    What is bound already stays (`ctx.logger`). Else the name of the logger says which,
    where it is that of a plugin's module; else the file that the call stands in. What then is
    still unbound, the code of a library, is bound by context variables with the plugin on whose
    behalf it runs.
    """

    def __init__(self, plugin_of_path: Callable[[str], PluginRef | None]) -> None:
        self._plugin_of_path = plugin_of_path
        self._call_site = CallsiteParameterAdder(
            {CallsiteParameter.PATHNAME}, additional_ignores=["dagstack_dev"]
        )

    def __call__(self, logger: Any, _: str, event: EventDict) -> EventDict:
        record: logging.LogRecord | None = event.get("_record")
        name = record.name if record is not None else logger.name
        if "plugin" in event:
            return event
        parts = name.split(".")
        if parts[0].startswith(NAMESPACE) and len(parts) > 2:  # noqa: PLR2004 - kind and name
            event["plugin"] = f"{parts[1]}/{parts[2]}".replace("%2E", ".")
            return event
        if record is not None:
            path = record.pathname
        else:
            path = self._call_site(logger, "", {})[CallsiteParameter.PATHNAME.value]
        if (found := self._plugin_of_path(path)) is not None:
            event["plugin"] = str(found)
        return event
