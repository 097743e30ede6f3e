"""The log stream of the command line: everything that anything logs, in one form."""

from __future__ import annotations

import logging
import os
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeVar

import structlog
from structlog.processors import NAME_TO_LEVEL, CallsiteParameter, CallsiteParameterAdder
from structlog.stdlib import ProcessorFormatter

from dagstack_dev.cli.log_lines import LineFormatter, LogFormat
from dagstack_dev.cli.output import OutputFile, say
from dagstack_dev.core.blame import NAMESPACE
from dagstack_dev.core.errors.base import in_words
from dagstack_dev.logs import LOGGER_NAME, as_event

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from rich.console import Console
    from structlog.typing import EventDict, Processor

    from dagstack_dev.core.events import Fact
    from dagstack_dev.core.refs import PluginRef

T = TypeVar("T")


class LogStream:
    """One stream for what the server, its plugins and their libraries log.

    What the server itself logs, and `ctx.logger`, go straight to the writers, past every logger
    that others know: no `logging.basicConfig(force=True)`, `logging.disable` or
    `structlog.configure` of a plugin silences them. Every other logger is the process's own, and
    a plugin may turn it off.

    Args:
        form: of the lines on standard output. In `console`, a terminal view shows what happens,
            so facts themselves are logged only at level `debug`.
        level: the lowest level that is logged, by name.
        console: standard output; knows about colours, for the form `console`.
        file: a file to append the whole stream to, as logfmt if that is `form`, else as JSON.
        plugin_of_path: tells which plugin a source file belongs to, to bind what it logs.
    """

    def __init__(
        self,
        *,
        form: LogFormat,
        level: str,
        console: Console,
        file: OutputFile | None = None,
        plugin_of_path: Callable[[str], PluginRef | None] = lambda _: None,
    ) -> None:
        self._level = logging.getLevelNamesMapping()[level.upper()]
        self._processors: list[Processor] = [
            _BindPlugin(plugin_of_path),
            structlog.contextvars.merge_contextvars,
            structlog.stdlib.add_log_level,
            structlog.stdlib.add_logger_name,
            _stamp,
            structlog.processors.StackInfoRenderer(),
        ]
        foreign: list[Processor] = [structlog.stdlib.ExtraAdder(), *self._processors]
        self._writers: list[_Writer] = []
        if file is not None:
            file_form = LogFormat.LOGFMT if form is LogFormat.LOGFMT else LogFormat.JSON
            self._writers.append(_Writer(file, LineFormatter(file_form, foreign, console)))
        shows_facts = form is not LogFormat.CONSOLE or self._level <= logging.DEBUG
        lines = LineFormatter(form, foreign, console)
        self._writers.append(_Writer(console.file, lines, shows_facts=shows_facts))

    def logger(self, name: str) -> Any:
        """Return a structlog logger that writes into the stream, whatever plugins do to logging."""
        logger = structlog.wrap_logger(
            _EventWriter(name, self._writers),
            processors=[*self._processors, _as_argument],
            wrapper_class=structlog.make_filtering_bound_logger(self._level),
        )
        return logger.bind()

    def tell(self, fact: Fact, /) -> None:
        """Write a fact: no processor has anything to add to what the server itself says."""
        level, name, fields = as_event(fact)
        if NAME_TO_LEVEL[level] >= self._level:
            event = _stamp(
                None, "", {**fields, "event": name, "level": level, "logger": LOGGER_NAME}
            )
            for writer in self._writers:
                writer.write(LOGGER_NAME, event)

    def take_all(self) -> None:
        """Send what goes through structlog and the standard `logging` into the stream, too."""
        structlog.configure(
            processors=[*self._processors, ProcessorFormatter.wrap_for_formatter],
            wrapper_class=structlog.make_filtering_bound_logger(self._level),
            logger_factory=structlog.stdlib.LoggerFactory(),
            cache_logger_on_first_use=True,
        )
        root = logging.getLogger()
        root.handlers[:] = self._writers
        root.setLevel(self._level)
        logging.captureWarnings(capture=True)
        for noisy in ("watchfiles", "asyncio", "httpx2", "mcp"):
            logging.getLogger(noisy).setLevel(max(self._level, logging.WARNING))


def open_log_file(path: str) -> OutputFile:
    """Open a file to append to; one that is made is for its owner alone.

    Raises:
        OSError: it cannot be opened.
    """
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    return OutputFile(descriptor, f"--log-file {path}")


class _Writer(logging.Handler):
    """Writes lines; what goes wrong with one is reported, and raises nothing where it is logged.

    Args:
        file: where to.
        lines: makes them.
        shows_facts: whether what the server itself logs is written, too.
    """

    def __init__(self, file: Any, lines: LineFormatter, *, shows_facts: bool = True) -> None:
        super().__init__()
        self._file = file
        self._lines = lines
        self._shows_facts = shows_facts

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record; `handle` has taken the lock."""
        self._write(record.name, self._lines.format, record)

    def write(self, name: str, event: EventDict) -> None:
        """Write one event of the logger called `name`."""
        assert self.lock is not None  # noqa: S101 - every handler makes one
        with self.lock:
            self._write(name, self._lines.line, event)

    def _write(self, name: str, line_of: Callable[[T], str], what: T) -> None:
        if name == LOGGER_NAME and not self._shows_facts:
            return
        try:
            self._file.write(f"{line_of(what)}\n")
        except Exception as error:  # noqa: BLE001 - logging must not raise
            say(f"an event of {name} is lost: {in_words(error)}")


class _EventWriter:
    """What a logger writes to: its events go to every writer, and need no `LogRecord` for that."""

    def __init__(self, name: str, writers: Sequence[_Writer]) -> None:
        self.name = name
        self._writers = writers

    def msg(self, event: EventDict) -> None:
        """Write one event, whatever its level."""
        for writer in self._writers:
            writer.write(self.name, event)

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
