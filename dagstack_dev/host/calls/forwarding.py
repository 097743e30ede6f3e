"""The forwarding methods of a proxy: made from source text, for speed.

Each has the very signature of the method it stands for: forwarding through `*args, **kwargs`
costs three times as much.
"""

from __future__ import annotations

import inspect
from functools import lru_cache, update_wrapper
from keyword import iskeyword
from types import FunctionType
from typing import TYPE_CHECKING, Any, Final

from dagstack_dev.host.loop.stacks import FORWARDER_FILE

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import CodeType

    from dagstack_dev.host.calls.gate import Gate

_RESERVED: Final = "_dagstack_"
"""How the names begin that forwarding methods use for themselves."""


def is_special(name: str) -> bool:
    """Return whether Python looks `name` up in the class, as it does for operators."""
    return name.startswith("__") and name.endswith("__")


def make_forwarder(
    gate: Gate,
    name: str,
    shape: str,
    params: str = "_self, /, *args, **kwargs",
    args: str = "*args, **kwargs",
) -> Any:
    """Return a function that forwards to the method `name` of the instance that `gate` has then.

    Args:
        gate: the one that the call passes.
        name: the method.
        shape: one of those that `shape_of` returns.
        params: its parameters, as source text.
        args: what it passes on, as source text.
    """
    return _factory(shape, name, params, args)(
        gate, gate.calls.in_flight.append, gate.calls.in_flight.pop
    )


def shape_of(function: Any) -> str:
    """Return which of the bodies below forwards to `function`, by what a call of it returns."""
    if inspect.iscoroutinefunction(function):
        return "coroutine"
    if inspect.isasyncgenfunction(function):
        return "async generator"
    if inspect.isgeneratorfunction(function) and not (
        function.__code__.co_flags & inspect.CO_ITERABLE_COROUTINE  # by @types.coroutine
    ):
        return "generator"
    return "plain"


def forwarder_like(gate: Gate, name: str, member: object) -> Any:
    """Return a function that forwards to the method `name`, or None for what is no method."""
    if not name.isidentifier() or iskeyword(name) or name.startswith(_RESERVED):
        return None
    if isinstance(member, FunctionType):
        shape = shape_at(gate, name, member)
        forwarder = make_forwarder(gate, name, shape, *_signature(member.__code__))
        update_wrapper(forwarder, member)
        forwarder.__defaults__ = member.__defaults__
        forwarder.__kwdefaults__ = member.__kwdefaults__
        return forwarder
    if isinstance(member, staticmethod | classmethod):
        function = member.__func__
        forwarder = make_forwarder(gate, name, shape_at(gate, name, function))
        if isinstance(function, FunctionType):
            update_wrapper(forwarder, function)
            if isinstance(member, staticmethod):
                _add_self(forwarder, function)
        return forwarder
    return make_forwarder(gate, name, "plain") if is_special(name) and callable(member) else None


def shape_at(gate: Gate, name: str, function: Any) -> str:
    """As `shape_of`; public plain methods run in threads where the gate says so."""
    shape = shape_of(function)
    if shape == "plain" and gate.in_threads and not name.startswith("_"):
        return "thread"
    return shape


def _add_self(forwarder: Any, function: Callable[..., Any]) -> None:
    """Let the forwarder of a static method, once bound, show the function's own signature."""
    shown = inspect.signature(function)
    own = inspect.Parameter("_self", inspect.Parameter.POSITIONAL_ONLY)
    forwarder.__signature__ = shown.replace(parameters=[own, *shown.parameters.values()])


def _signature(code: CodeType) -> tuple[str, ...]:
    """Return how a function is called: its parameters and the arguments to pass on, as source text.

    Nothing when that cannot be written down; then everything is passed on as it comes.
    """
    names = code.co_varnames
    positional = list(names[: code.co_argcount])
    keyword = list(names[code.co_argcount : code.co_argcount + code.co_kwonlyargcount])
    rest = list(names[code.co_argcount + code.co_kwonlyargcount :])
    if not positional or any(each.startswith(_RESERVED) for each in names):
        return ()
    params, args = list(positional), positional[1:]
    if code.co_posonlyargcount:
        params.insert(code.co_posonlyargcount, "/")
    if code.co_flags & inspect.CO_VARARGS:
        star = f"*{rest.pop(0)}"
        params.append(star)
        args.append(star)
    elif keyword:
        params.append("*")
    params.extend(keyword)
    args.extend(f"{each}={each}" for each in keyword)
    if code.co_flags & inspect.CO_VARKEYWORDS:
        stars = f"**{rest.pop(0)}"
        params.append(stars)
        args.append(stars)
    return ", ".join(params), ", ".join(args)


_HEADS: Final = {
    "plain": ("def", "_dagstack_gate.wait_in_thread()"),
    "generator": ("def", "_dagstack_gate.wait_in_thread()"),
    "coroutine": ("async def", "await _dagstack_gate.wait()"),
    "thread": ("async def", "await _dagstack_gate.wait()"),
    "async generator": ("async def", "await _dagstack_gate.wait()"),
}

_BODIES: Final = {
    "plain": "return {call}",
    "coroutine": "return await {call}",
    # The method is looked up now: the instance may be another by the time a thread is free. The
    # gate is bound so that the frame in the thread shows whose call it is, as all of these do.
    "thread": """_dagstack_method = {method}
            return await _dagstack_gate.call_in_thread(
                lambda _dagstack_gate=_dagstack_gate: _dagstack_method({args})
            )""",
    "generator": "return (yield from {call})",
    # What `yield from` does, for which asynchronous generators have no syntax (PEP 525).
    "async generator": """_stream = {call}
            try:
                _item = await _stream.__anext__()
                while True:
                    try:
                        _sent = yield _item
                    except GeneratorExit:
                        await _stream.aclose()
                        raise
                    except BaseException as _error:
                        _item = await _stream.athrow(_error)
                    else:
                        _item = await _stream.asend(_sent)
            except StopAsyncIteration:
                return""",
}


@lru_cache(maxsize=4096)
def _factory(shape: str, name: str, params: str, args: str) -> Callable[..., Any]:
    """Compile a maker of forwarding methods; equal signatures share one."""
    define, wait = _HEADS[shape]
    method = f"_dagstack_gate.instance.{name}"
    body = _BODIES[shape].format(call=f"{method}({args})", method=method, args=args)
    source = f"""
def make(_dagstack_gate, _dagstack_mark, _dagstack_lift):
    {define} {name}({params}):
        _dagstack_mark(None)
        try:
            if _dagstack_gate.closed:
                {wait}
            {body}
        finally:
            _dagstack_lift()
            if _dagstack_gate.closed:
                _dagstack_gate.call_ended()
    return {name}
"""
    namespace: dict[str, Any] = {}
    exec(compile(source, FORWARDER_FILE, "exec"), namespace)  # noqa: S102 - our own text
    make: Callable[..., Any] = namespace["make"]
    return make
