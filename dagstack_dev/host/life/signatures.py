"""Refuses functions that cannot be called as they are to be, at the line of the plugin."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Final

from dagstack_dev.core.errors.life import SignatureMismatch

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from dagstack_dev.core.refs import PluginRef

_PARAMETERS: Final[Mapping[str, tuple[str, ...]]] = {"setup": ("ctx",), "teardown": ()}


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
    except (TypeError, ValueError):  # Some builtins do not tell.
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
    parameters = _PARAMETERS[name]
    try:
        inspect.signature(method, follow_wrapped=False).bind(*parameters)
    except TypeError as error:
        problem = str(error)
    except ValueError:  # A method without any parameter has no signature.
        problem = "it has no parameter for the instance"
    else:
        return
    code = getattr(method, "__code__", None)
    if code is None:  # What is called is an object, and the TypeError may be its own.
        return
    named = getattr(method, "__qualname__", name)
    given = ", ".join(parameters)
    define = "async def" if inspect.iscoroutinefunction(method) else "def"
    wanted = ", ".join((["self"] if inspect.ismethod(method) else []) + [*parameters])
    reason = (
        f"{named} cannot be called as {name}({given}): {problem}; write: {define} {name}({wanted})"
    )
    raise SignatureMismatch(ref, reason, code.co_filename, code.co_firstlineno) from None


def _named(value: object) -> str:
    return type(value).__name__
