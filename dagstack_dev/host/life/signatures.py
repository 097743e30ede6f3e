"""Refuses functions that cannot be called as they are to be, at the line of the plugin."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING

from dagstack_dev.core.errors.life import SignatureMismatch

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from dagstack_dev.core.refs import PluginRef


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
            function.close()  # Else Python would warn that it was never awaited.
        raise TypeError(
            f"ctx.{method} takes a function and its arguments, and got {found}; write "
            f"ctx.{method}(function, argument), not ctx.{method}(function(argument))"
        )
    try:
        # What a decorator wraps is not what is called.
        signature = inspect.signature(function, follow_wrapped=False)
    except (TypeError, ValueError):  # Some builtins have none.
        return
    try:
        signature.bind(*arguments, **named)
    except TypeError as error:
        name = getattr(function, "__qualname__", None) or type(function).__qualname__
        given = ", ".join([*map(_named, arguments), *(f"{key}=..." for key in named)])
        raise TypeError(f"{name} cannot be called as {name}({given}): {error}") from None


def check_plain(method: str, function: object) -> None:
    """Raise `TypeError` for an asynchronous function, whose coroutine would not be awaited."""
    if inspect.iscoroutinefunction(function):
        raise TypeError(
            f"ctx.{method} takes a plain function; for an async one, use ctx.start_soon"
        )


def check_method(ref: PluginRef, name: str, method: Callable[..., object]) -> None:
    """Raise `SignatureMismatch` when a plugin's `setup` or `teardown` takes other arguments.

    To be asked when a call has raised `TypeError`, which has no line of the plugin then.
    """
    try:
        signature = inspect.signature(method, follow_wrapped=False)
    except ValueError:  # A method without any parameter has none.
        signature = None
    reason = SignatureMismatch.reason_of(
        name,
        getattr(method, "__qualname__", name),
        signature,
        is_async=inspect.iscoroutinefunction(method),
        has_self=inspect.ismethod(method),
    )
    code = getattr(method, "__code__", None)
    # Where what is called is an object, the TypeError may be its own.
    if reason is not None and code is not None:
        raise SignatureMismatch(ref, reason, code.co_filename, code.co_firstlineno) from None


def _named(value: object) -> str:
    return type(value).__name__
