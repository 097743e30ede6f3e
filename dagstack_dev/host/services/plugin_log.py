"""Logs on behalf of plugins with whatever logger the host has given them."""

from __future__ import annotations

import logging
from typing import Any, Final

from dagstack_dev.host.guarding import Guard

_GUARD: Final = Guard("a logger of the app")


def log_event(
    logger: Any, level: str, event: str, error: BaseException | None = None, **fields: object
) -> None:
    """Log one event through a structlog or standard logger; another one is left alone.

    What the logger raises is reported, and concerns nobody else.

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
        _GUARD.call(method, "%s", text, **extra)
    else:
        _GUARD.call(method, event, **fields, **extra)
