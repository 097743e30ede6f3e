"""Log calls and progress on their way from a plugin's process to what the app has for them."""

from __future__ import annotations

import logging
import sys
from contextlib import suppress
from enum import Enum
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from dagstack_dev.core.errors.base import PluginRegistryError, shown
from dagstack_dev.core.errors.remote import NotTransferable
from dagstack_dev.runtimes.process.transfer import pack, unpack

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from dagstack_dev.core.refs import PluginRef


_WHAT: Final = "a log call"


class Target(Enum):
    """What of a plugin's context is called in the app."""

    LOGGER = "logger"
    PROGRESS = "progress"


class RemoteTarget:
    """Stands in a plugin's process for something in the app, where each call of it is made.

    What cannot be sent goes as its `repr`.

    Args:
        send: sends what `log_here` is to be given; from any thread.
        ref: the plugin.
        target: what it stands for; a text names a logger of `logging`.
        bound: what the logger is to be bound with.
    """

    def __init__(
        self,
        send: Callable[[bytes], None],
        ref: PluginRef,
        target: Target | str,
        bound: Mapping[str, Any] | None = None,
    ) -> None:
        self._send = send
        self._ref = ref
        self._target = target
        self._bound = dict(bound or {})

    def _tell(self, method: str, /, *args: object, **kwargs: Any) -> None:
        error = _exception(kwargs.pop("exc_info", None))
        if error is not None:
            kwargs["exc_info"] = error
        try:
            data = self._packed(method, args, kwargs, self._bound)
        except NotTransferable:
            plain = tuple(map(_plain, args)), _all_plain(kwargs), _all_plain(self._bound)
            data = self._packed(method, *plain)
        self._send(data)

    def _packed(self, *call: object) -> bytes:
        data = pack((self._target, *call), ref=self._ref, what=_WHAT)
        unpack(data, ref=self._ref, what=_WHAT)  # As far as the app will be able to.
        return data


class RemoteLogger(RemoteTarget):
    """Stands for the logger of a plugin's context; `bind` works where that in the app has one."""

    def bind(self, **values: Any) -> RemoteLogger:
        """Return a logger whose calls carry `values`, too."""
        values.pop("plugin", None)  # Which that in the app is bound with.
        return RemoteLogger(self._send, self._ref, self._target, {**self._bound, **values})

    def exception(self, *args: object, **kwargs: object) -> None:
        """As `error`, with the exception that is being handled."""
        self._tell("error", *args, **{"exc_info": True, **kwargs})

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return partial(self._tell, name)


class RemoteProgress(RemoteTarget):
    """Stands for the `ProgressSink` of a plugin's context."""

    def report(self, progress: object) -> None:
        """See `ProgressSink.report`."""
        self._tell("report", progress)

    def done(self) -> None:
        """See `ProgressSink.done`."""
        self._tell("done")

    def error(self, exc: BaseException) -> None:
        """See `ProgressSink.error`."""
        self._tell("error", exc)


class RemoteHandler(logging.Handler):
    """Passes on what is logged through `logging` in a plugin's process to the app's loggers.

    Args:
        send, ref: see `RemoteTarget`.
    """

    def __init__(self, send: Callable[[bytes], None], ref: PluginRef) -> None:
        super().__init__()
        self._logger = partial(RemoteLogger, send, ref)

    def emit(self, record: logging.LogRecord) -> None:
        """Send it; arguments as they read in the message."""
        try:
            text = record.getMessage()
            self._logger(record.name).log(record.levelno, text, exc_info=record.exc_info)
        except Exception:  # noqa: BLE001 - as every handler does
            self.handleError(record)


def log_here(data: bytes, logger: Any, progress: Any, ref: PluginRef) -> None:
    """Make in the app the call that a plugin's process has sent.

    Args:
        data: what it has sent.
        logger: of the plugin, in the app.
        progress: its sink for progress, if it has any.
        ref: the plugin.
    """
    try:
        target, method, args, kwargs, bound = unpack(data, ref=ref, what=_WHAT)
        bind = getattr(logger, "bind", None)
        if target is Target.PROGRESS:
            target = progress
        elif target is Target.LOGGER:
            target = bind(**bound) if bound and callable(bind) else logger
        else:
            target = logging.getLogger(target)
        getattr(target, method)(*args, **kwargs)
    except Exception as error:  # noqa: BLE001 - the plugin has gone on long ago
        problem = str(error) if isinstance(error, PluginRegistryError) else shown(error)
        message = f"a log call of {ref} could not be made here: {problem}"
        with suppress(Exception):  # The app's own logger may be what fails.
            logger.warning(message)


def _plain(value: object) -> object:
    is_sendable = isinstance(value, str | int | float | bool | None | BaseException)
    return value if is_sendable else shown(value)


def _all_plain(values: dict[str, Any]) -> dict[str, object]:
    return {key: _plain(value) for key, value in values.items()}


def _exception(given: object) -> BaseException | None:
    """Return the exception that `exc_info` means, in any of the forms that it takes."""
    if isinstance(given, BaseException):
        return given
    if isinstance(given, tuple):
        return given[1] if isinstance(given[1], BaseException) else None
    return sys.exception() if given else None
