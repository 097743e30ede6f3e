"""Binds the host's logger to a plugin."""

from __future__ import annotations

import logging
from collections.abc import MutableMapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dagstack_dev.core.refs import PluginRef


def bound_logger(logger: Any, ref: PluginRef) -> Any:
    """`logger` with `plugin="kind/name"` in all that it logs; any other object as it is."""
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
