"""Refuses a function that cannot be called as asked, at the line of the plugin that asks."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def check_call(
    method: str, function: object, arguments: Sequence[object], named: Mapping[str, object]
) -> None:
    """Raise `TypeError` when `function` cannot be called with these arguments.

    When it is called, in a task or thread of ours, no line of the plugin is in the traceback.

    Args:
        method: what the plugin has called, for the message.
        function: what it has given to it.
        arguments: what `function` would be called with.
        named: likewise, by name.
    """
    if not callable(function):
        found = "a coroutine" if inspect.iscoroutine(function) else repr(function)
        if inspect.iscoroutine(function):
            function.close()  # Else Python would complain that nobody has awaited it.
        raise TypeError(
            f"ctx.{method} takes a function and its arguments, and got {found}; write "
            f"ctx.{method}(function, argument), not ctx.{method}(function(argument))"
        )
    try:
        # What a decorator wraps is not what is called.
        signature = inspect.signature(function, follow_wrapped=False)
    except (TypeError, ValueError):  # Some builtins do not tell.
        return
    try:
        signature.bind(*arguments, **named)
    except TypeError as error:
        name = getattr(function, "__qualname__", None) or type(function).__qualname__
        given = ", ".join([*map(_named, arguments), *(f"{key}=..." for key in named)])
        raise TypeError(f"{name} cannot be called as {name}({given}): {error}") from None


def check_plain(method: str, function: object) -> None:
    """Raise `TypeError` for an asynchronous function, whose coroutine nobody would await."""
    if inspect.iscoroutinefunction(function):
        raise TypeError(
            f"ctx.{method} takes a plain function; for an async one, use ctx.start_soon"
        )


def _named(value: object) -> str:
    return type(value).__name__
