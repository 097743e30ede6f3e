"""A plugin class around something that an app already has a function for."""

from __future__ import annotations

import inspect
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


def wrap_singleton(
    attr_name: str, factory: Callable[..., Any], *, class_name: str | None = None
) -> type:
    """Return a plugin class that makes one object in `setup` and drops it in `teardown`.

        ClientPlugin = wrap_singleton("client", make_client, class_name="ClientPlugin")

    The object is the attribute `attr_name`, and what the method `unwrap()` answers; None while
    the plugin is not set up. To close it in the end is the factory's business: it may be given
    the plugin's context, for `ctx.callback` or `ctx.enter_async`.

    Args:
        attr_name: where the object is kept.
        factory: makes the object; a function or a coroutine function, without required
            parameters or with one for the context.
        class_name: of the class, for an entry point to name.
    """
    wants_context = _wants_context(factory)

    class WrappedPlugin:
        def __init__(self) -> None:
            setattr(self, attr_name, None)

        async def setup(self, ctx: object) -> None:
            if getattr(self, attr_name) is None:
                made = factory(ctx) if wants_context else factory()
                setattr(self, attr_name, await made if inspect.isawaitable(made) else made)

        async def teardown(self) -> None:
            setattr(self, attr_name, None)

        def unwrap(self) -> Any:
            return getattr(self, attr_name)

    WrappedPlugin.__name__ = WrappedPlugin.__qualname__ = class_name or "WrappedPlugin"
    WrappedPlugin.__module__ = sys._getframe(1).f_globals.get("__name__", __name__)  # noqa: SLF001 - as a named tuple does
    return WrappedPlugin


def _wants_context(factory: Callable[..., Any]) -> bool:
    try:
        parameters = inspect.signature(factory).parameters.values()
    except ValueError:  # A built-in function may have none.
        return False
    return any(
        each.default is each.empty
        and each.kind in {each.POSITIONAL_ONLY, each.POSITIONAL_OR_KEYWORD}
        for each in parameters
    )
