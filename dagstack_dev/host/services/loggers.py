"""Loggers: the one that a plugin gets, ours where an app has none, and how the host logs."""

from __future__ import annotations

import logging
from collections.abc import MutableMapping
from typing import TYPE_CHECKING, Any, Final

import structlog

from dagstack_dev.host.services.guarding import Guard

if TYPE_CHECKING:
    from structlog.typing import EventDict, Processor

    from dagstack_dev.core.refs import PluginRef

_OF_A_RECORD: Final = ("exc_info", "stack_info")
"""What a standard logger takes besides the text."""

_FRAMES: Final = 4
"""How far above the standard logger's own method the call of structlog's is."""


class AppLogger:
    """A logger for an app that has brought none; called as those of structlog are.

    It logs through structlog where the app has configured that, else through the standard logger
    of its name, with the fields behind the text. So a library does: an app that has configured
    neither sees warnings and errors on stderr, and what is logged through `quiet` not at all.

    Args:
        name: of the logger.
        quiet: whether nothing is to be seen unless the app has configured logging.
    """

    def __init__(self, name: str, *, quiet: bool = False) -> None:
        self._name = name
        standard = logging.getLogger(name)
        if quiet and not standard.handlers:
            standard.addHandler(logging.NullHandler())
        self._standard = structlog.wrap_logger(
            standard, processors=_TO_STANDARD, wrapper_class=structlog.stdlib.BoundLogger
        ).bind()
        self._config: dict[str, Any] = {}
        self._configured: Any = None

    def __getattr__(self, attribute: str) -> Any:
        if attribute.startswith("_"):
            raise AttributeError(attribute)
        return getattr(self._logger, attribute)

    @property
    def _logger(self) -> Any:
        """What logs now. One of structlog's is made anew when the app configures that again."""
        if not structlog.is_configured():
            return self._standard
        config = structlog.get_config()
        if config != self._config:
            self._configured = structlog.stdlib.get_logger(self._name).bind()
            self._config = config
        return self._configured


def _as_record(_: Any, __: str, event: EventDict) -> tuple[tuple[str], dict[str, Any]]:
    """Return the arguments of a standard logger's method."""
    kept = {name: event.pop(name) for name in _OF_A_RECORD if name in event}
    text = [str(event.pop("event", "")), *(f"{name}={value!r}" for name, value in event.items())]
    return (" ".join(text),), {**kept, "stacklevel": _FRAMES}


_TO_STANDARD: Final[list[Processor]] = [
    structlog.stdlib.filter_by_level,
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.PositionalArgumentsFormatter(),
    _as_record,
]


def bound_logger(logger: Any, ref: PluginRef) -> Any:
    """Return `logger` with `plugin="kind/name"` in all that it logs; any other object as it is."""
    if isinstance(logger, logging.Logger):
        return _BoundAdapter(logger, {"plugin": str(ref)})
    bind = getattr(logger, "bind", None)
    return bind(plugin=str(ref)) if callable(bind) else logger


class _BoundAdapter(logging.LoggerAdapter[logging.Logger]):
    """A standard logger whose records carry `plugin`, besides any `extra` of the call."""

    def process(
        self,
        msg: Any,
        kwargs: MutableMapping[str, Any],
    ) -> tuple[Any, MutableMapping[str, Any]]:
        kwargs["extra"] = {**(self.extra or {}), **(kwargs.get("extra") or {})}
        return msg, kwargs


_LOGGERS: Final = Guard("a logger of the app")


def log_event(
    logger: Any, level: str, event: str, error: BaseException | None = None, **fields: object
) -> None:
    """Log one event through a structlog or standard logger; another one is left alone.

    What the logger raises is reported, and changes nothing else.

    Args:
        logger: as in `PluginContext.logger`.
        level: the name of its method.
        event: what has happened.
        error: whose traceback is shown.
        fields: of a structlog event; a standard logger gets them behind the text.
    """
    method = getattr(logger, level, None)
    if not callable(method):
        return
    extra = {} if error is None else {"exc_info": error}
    if isinstance(logger, logging.Logger | logging.LoggerAdapter):
        text = " ".join([event, *(f"{name}={value!r}" for name, value in fields.items())])
        _LOGGERS.call(method, "%s", text, **extra)
    else:
        _LOGGERS.call(method, event, **fields, **extra)
