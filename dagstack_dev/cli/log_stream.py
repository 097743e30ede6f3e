"""The log stream of the command line: everything that anything logs, in one form."""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from contextlib import suppress
from enum import StrEnum
from io import TextIOWrapper
from typing import TYPE_CHECKING, Any, Final, TextIO

import structlog
from rich.text import Text
from structlog.processors import CallsiteParameter, CallsiteParameterAdder
from structlog.stdlib import ProcessorFormatter

from dagstack_dev.cli.excerpts import error_lines
from dagstack_dev.core.blame import NAMESPACE
from dagstack_dev.logs import LOGGER_NAME

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from rich.console import Console
    from structlog.typing import EventDict, Processor

_FIRST_KEYS: Final = ("timestamp", "level", "event", "plugin")


class LogFormat(StrEnum):
    """How log lines look."""

    CONSOLE = "console"
    JSON = "json"
    LOGFMT = "logfmt"


def configure_logging(
    *,
    form: LogFormat,
    level: str,
    console: Console,
    file: str | None = None,
    plugin_of_path: Callable[[str], str | None] = lambda _: None,
    on_closed: Callable[[], None] = lambda: None,
) -> None:
    """Send structlog and the standard `logging` into one stream, on standard output.

    Args:
        form: of the lines on standard output. In `console`, a terminal view shows what happens,
            so facts themselves are logged only at level `debug`. In the other forms standard
            output is for the stream alone: what plugins print goes to standard error.
        level: the lowest level that is logged, by name.
        console: knows about colours, for the form `console`.
        file: a file to append the whole stream to, as logfmt if that is `form`, else as JSON.
        plugin_of_path: tells which plugin a source file belongs to, to bind what it logs.
        on_closed: called when nobody reads standard output any more.

    Raises:
        OSError: `file` cannot be opened.
    """
    number = logging.getLevelNamesMapping()[level.upper()]
    shared: list[Processor] = [
        _BindPlugin(plugin_of_path),
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="%Y-%m-%dT%H:%M:%S.%fZ", utc=True),
        structlog.processors.StackInfoRenderer(),
    ]
    foreign: list[Processor] = [structlog.stdlib.ExtraAdder(), *shared]
    handlers: list[logging.Handler] = []
    if file is not None:
        to_file = logging.FileHandler(file, encoding="utf-8", errors="backslashreplace")
        file_form = LogFormat.LOGFMT if form is LogFormat.LOGFMT else LogFormat.JSON
        to_file.setFormatter(_formatter(file_form, foreign, console))
        handlers.append(to_file)
    structlog.configure(
        processors=[*shared, ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    if isinstance(sys.stdout, TextIOWrapper):  # A file name that is no text must not break a line.
        sys.stdout.reconfigure(errors="backslashreplace")
    stream = sys.stdout if form is LogFormat.CONSOLE else _stdout_to_itself()
    to_stdout = _StdoutHandler(stream, on_closed)
    to_stdout.setFormatter(_formatter(form, foreign, console))
    if form is LogFormat.CONSOLE and number > logging.DEBUG:
        to_stdout.addFilter(lambda record: record.name != LOGGER_NAME)
    handlers.append(to_stdout)
    root = logging.getLogger()
    root.handlers[:] = handlers
    root.setLevel(number)
    logging.captureWarnings(capture=True)
    for noisy in ("watchfiles", "asyncio"):
        logging.getLogger(noisy).setLevel(max(number, logging.WARNING))


def _stdout_to_itself() -> TextIO:
    """Standard output for the stream alone: what others write there goes to standard error.

    Others are `print` in plugins and, where it is the process's own, C code and child processes.
    """
    stream: TextIO = sys.stdout
    if _fileno(stream) == 1 and _fileno(sys.stderr) == 2:  # noqa: PLR2004 - standard error
        stream.flush()
        stream = os.fdopen(os.dup(1), "w", encoding="utf-8", errors="backslashreplace")
        os.dup2(2, 1)
    sys.stdout = sys.stderr
    return stream


def _fileno(stream: TextIO) -> int | None:
    try:
        return stream.fileno()
    except (OSError, ValueError, AttributeError):
        return None


class _StdoutHandler(logging.StreamHandler[TextIO]):
    """Writes to a stream; that it has no reader any more is no error, but told once."""

    def __init__(self, stream: TextIO, on_closed: Callable[[], None]) -> None:
        super().__init__(stream)
        self._on_closed = on_closed

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        """Tell that the reader is gone; anything else as ever."""
        if isinstance(sys.exception(), OSError):
            with suppress(OSError, ValueError):  # Nothing is to be flushed to nobody at the end.
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, self.stream.fileno())
                os.close(nowhere)
            self._on_closed()
        else:
            super().handleError(record)


def _formatter(form: LogFormat, foreign: list[Processor], console: Console) -> logging.Formatter:
    renderers: list[Processor]
    match form:
        case LogFormat.CONSOLE:
            renderers = [_ConsoleLine(console)]
        case LogFormat.JSON:
            renderers = [
                ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                structlog.processors.JSONRenderer(serializer=_json),
            ]
        case LogFormat.LOGFMT:
            renderers = [
                ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                _flatten,
                structlog.processors.LogfmtRenderer(
                    key_order=_FIRST_KEYS, drop_missing=True, bool_as_flag=False
                ),
            ]
    return ProcessorFormatter(foreign_pre_chain=foreign, processors=renderers)


class _BindPlugin:
    """Binds what is logged with the plugin whose code logs it.

    Whoever has bound it already knows best (`ctx.logger`). Else the name of the logger tells,
    where it is that of a plugin's module; else the file that the call stands in. What then is
    still unbound, the code of a library, is bound by context variables with the plugin on whose
    behalf it runs.
    """

    def __init__(self, plugin_of_path: Callable[[str], str | None]) -> None:
        self._plugin_of_path = plugin_of_path
        self._call_site = CallsiteParameterAdder(
            {CallsiteParameter.PATHNAME}, additional_ignores=["dagstack_dev"]
        )

    def __call__(self, logger: Any, _: str, event: EventDict) -> EventDict:
        record: logging.LogRecord | None = event.get("_record")
        name = record.name if record is not None else logger.name
        if "plugin" in event or name == LOGGER_NAME:
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
            event["plugin"] = found
        return event


class _ConsoleLine:
    """`11:00:03 clock/ticker  tick  greeting='Hello, world!'`, for a person."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def __call__(self, _: Any, __: str, event: EventDict) -> str:
        record: logging.LogRecord = event.pop("_record")
        event.pop("_from_structlog", None)
        event.pop("timestamp", None)
        event.pop("level", None)
        logger, plugin = event.pop("logger", ""), event.pop("plugin", None)
        exc_info, stack = event.pop("exc_info", None), event.pop("stack", None)
        clock = time.strftime("%H:%M:%S ", time.localtime(record.created))
        line = Text.assemble((clock, "dim"), (str(plugin or logger), "cyan" if plugin else "dim"))
        if record.levelno >= logging.WARNING:
            style = "yellow" if record.levelno < logging.ERROR else "bold red"
            line.append("  ").append(record.levelname.lower(), style)
        line.append("  ").append(_indented(str(event.pop("event", ""))))
        for key, value in event.items():
            line.append(f"  {key}=", "dim").append(_value(value))
        if (error := _exception(exc_info)) is not None:
            for each in error_lines(error):
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
    return repr(value)


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


def _json(event: Mapping[str, Any], **options: Any) -> str:
    """One line of JSON; what JSON does not know is written as Python would."""
    ordered = {key: event[key] for key in _FIRST_KEYS if key in event} | dict(event)
    options |= {"ensure_ascii": False, "allow_nan": False}
    try:
        return json.dumps(ordered, **options)
    except (TypeError, ValueError):  # Odd keys, a circle, a NaN.
        plain = {str(key): _plain(value, options) for key, value in ordered.items()}
        return json.dumps(plain, **options)


def _plain(value: object, options: Mapping[str, Any]) -> object:
    try:
        json.dumps(value, **options)
    except (TypeError, ValueError):
        return repr(value)
    return value


def _flatten(_: object, __: str, event: EventDict) -> EventDict:
    """Nested fields as one level, for a format that knows no nesting."""
    return dict(_leaves("", event))


def _leaves(prefix: str, values: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        name = prefix + "".join("_" if char <= " " or char in '="' else char for char in str(key))
        if isinstance(value, dict):
            yield from _leaves(f"{name}_", value)
        elif isinstance(value, list | tuple) and all(isinstance(item, dict) for item in value):
            yield from _leaves(f"{name}_", {str(index): item for index, item in enumerate(value)})
        elif isinstance(value, list | tuple):
            yield name, ",".join(map(str, value))
        else:
            yield name, value.replace("\r", "\\r") if isinstance(value, str) else value
