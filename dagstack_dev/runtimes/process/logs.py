"""Log calls on their way from a plugin's process to the logger that the app has bound for it."""

from __future__ import annotations

import logging
import sys
from contextlib import suppress
from enum import Enum
from typing import TYPE_CHECKING, Any, Final

from dagstack_dev.core.errors.base import PluginRegistryError, shown
from dagstack_dev.core.errors.remote import NotTransferable
from dagstack_dev.runtimes.process.failures import Failure, describe, rebuild
from dagstack_dev.runtimes.process.transfer import pack, unpack

if TYPE_CHECKING:
    from collections.abc import Callable

    from dagstack_dev.core.refs import PluginRef

_WHAT: Final = "a log call"


class _Target(Enum):
    PROGRESS = "progress"


class RemoteLogger:
    """Stands in a plugin's process for the logger of its context.

    It takes whatever the logger in the app takes: each call is made there. What cannot be
    pickled goes as its `repr`. `bind` works where the logger in the app has one, too.

    Args:
        send: sends what `log_here` is to be given; from any thread.
        ref: the plugin.
        bound: what each call is to be bound with.
    """

    def __init__(
        self,
        send: Callable[[bytes], None],
        ref: PluginRef,
        bound: dict[str, Any] | None = None,
    ) -> None:
        self._send = send
        self._ref = ref
        self._bound = bound or {}

    def bind(self, **values: Any) -> RemoteLogger:
        """A logger whose calls carry `values`, too."""
        return RemoteLogger(self._send, self._ref, {**self._bound, **values})

    def exception(self, *args: object, **kwargs: object) -> None:
        """As `error`, with the exception that is being handled."""
        self._log("error", args, {"exc_info": True, **kwargs})

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return lambda *args, **kwargs: self._log(name, args, kwargs)

    def _log(self, method: str, args: tuple[object, ...], kwargs: dict[str, Any]) -> None:
        error = _exception(kwargs.pop("exc_info", None))
        failure = None if error is None else describe(error, self._ref)
        bound = {key: value for key, value in self._bound.items() if key != "plugin"}
        call = (None, method, bound, args, kwargs, failure)
        try:
            data = pack(call, ref=self._ref, what=_WHAT)
            unpack(data, ref=self._ref, what=_WHAT)  # As far as the app will be able to.
        except NotTransferable:
            plain = tuple(map(_plain, args)), {key: _plain(each) for key, each in kwargs.items()}
            bound = {key: _plain(value) for key, value in bound.items()}
            data = pack((None, method, bound, *plain, failure), ref=self._ref, what=_WHAT)
        self._send(data)


class RemoteProgress:
    """Stands in a plugin's process for the `ProgressSink` of its context; see `RemoteLogger`."""

    def __init__(self, send: Callable[[bytes], None], ref: PluginRef) -> None:
        self._send = send
        self._ref = ref

    def report(self, progress: object) -> None:
        """See `ProgressSink.report`."""
        self._tell("report", (progress,))

    def done(self) -> None:
        """See `ProgressSink.done`."""
        self._tell("done")

    def error(self, exc: BaseException) -> None:
        """See `ProgressSink.error`."""
        self._tell("error", failure=describe(exc, self._ref))

    def _tell(
        self, method: str, args: tuple[object, ...] = (), failure: Failure | None = None
    ) -> None:
        call: tuple[object, ...] = (_Target.PROGRESS, method, {}, args, {}, failure)
        self._send(pack(call, ref=self._ref, what="a report of progress"))


class RemoteHandler(logging.Handler):
    """Passes on what is logged through `logging` in a plugin's process to the app's loggers."""

    def __init__(self, send: Callable[[bytes], None], ref: PluginRef) -> None:
        super().__init__()
        self._send_data = send
        self._ref = ref

    def emit(self, record: logging.LogRecord) -> None:
        """Send it; arguments as they read in the message, an exception as its text."""
        try:
            error = _exception(record.exc_info)
            failure = None if error is None else describe(error, self._ref)
            data = pack(
                (record.name, "", {}, (record.levelno, record.getMessage()), {}, failure),
                ref=self._ref,
                what=_WHAT,
            )
        except Exception:  # noqa: BLE001 - as every handler does
            self.handleError(record)
        else:
            self._send_data(data)


def log_here(data: bytes, logger: Any, progress: Any, ref: PluginRef) -> None:
    """Make in the app the log call, or report of progress, that a plugin's process has sent."""
    try:
        name, method, bound, args, kwargs, failure = unpack(data, ref=ref, what=_WHAT)
        if name is _Target.PROGRESS:
            errors = () if failure is None else (rebuild(failure, ref),)
            getattr(progress, method)(*args, *errors)
            return
        if failure is not None:
            kwargs = {**kwargs, "exc_info": rebuild(failure, ref)}
        if name is not None:
            logging.getLogger(name).log(*args, **kwargs)
            return
        bind = getattr(logger, "bind", None)
        target = bind(**bound) if bound and callable(bind) else logger
        getattr(target, method)(*args, **kwargs)
    except Exception as error:  # noqa: BLE001 - the plugin has gone on long ago
        problem = str(error) if isinstance(error, PluginRegistryError) else shown(error)
        message = f"a log call of {ref} could not be made here: {problem}"
        with suppress(Exception):  # The app's own logger may be what fails.
            logger.warning(message)


def _plain(value: object) -> object:
    return value if isinstance(value, str | int | float | bool | None) else shown(value)


def _exception(given: object) -> BaseException | None:
    """The exception that `exc_info` means, in any of the forms that it takes."""
    if isinstance(given, BaseException):
        return given
    if isinstance(given, tuple):
        return given[1] if isinstance(given[1], BaseException) else None
    return sys.exception() if given else None
