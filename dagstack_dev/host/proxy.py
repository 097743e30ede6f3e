"""What `get_plugin` returns: one object per plugin, for the registry's whole life.

A proxy has a class of its own, generated from the plugin's class: each method becomes a
forwarding method with the very same signature, so that a call costs one attribute look-up, one
mark in the gate's list and the call itself. Everything else goes through `__getattr__`. When a
new generation comes, the proxy's class is generated anew and put in place of the old one.
"""

from __future__ import annotations

import inspect
from functools import lru_cache, update_wrapper
from keyword import iskeyword
from types import FunctionType
from typing import TYPE_CHECKING, Any, Final

from dagstack_dev.core.errors import PluginUnavailable
from dagstack_dev.host.gate import FORWARDER_FILE, Gate

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import CodeType

_set_type: Final = vars(object)["__class__"].__set__

_NEVER_FORWARDED: Final = frozenset(
    {
        *dir(object),
        "__class_getitem__",
        "__copy__",
        "__deepcopy__",
        "__del__",
        "__dict__",
        "__getattr__",
        "__getnewargs__",
        "__getnewargs_ex__",
        "__post_init__",
        "__set_name__",
        "__setstate__",
        "__slots__",
        "__weakref__",
    }
)
"""What makes, copies, pickles or describes an object, and what the proxy answers itself."""


class PluginProxy:
    """Stands for one plugin, whichever generation of it runs."""

    __slots__ = ("__weakref__",)

    __dagstack_gate__: Gate

    def __getattr__(self, name: str) -> Any:
        gate = type(self).__dagstack_gate__
        try:
            return getattr(gate.instance, name)
        except AttributeError:
            if gate.instance is None and gate.unavailable is not None:
                raise PluginUnavailable(gate.ref, gate.unavailable) from None
            raise

    def __setattr__(self, name: str, value: object) -> None:
        setattr(type(self).__dagstack_gate__.instance, name, value)

    def __delattr__(self, name: str) -> None:
        delattr(type(self).__dagstack_gate__.instance, name)

    def __dir__(self) -> list[str]:
        return dir(unwrap(self))

    def __repr__(self) -> str:
        return repr(unwrap(self))

    def __str__(self) -> str:
        return str(unwrap(self))

    def __format__(self, spec: str) -> str:
        return format(unwrap(self), spec)

    def __bool__(self) -> bool:
        return bool(unwrap(self))

    def __eq__(self, other: object) -> bool:
        return bool(unwrap(self) == unwrap(other))

    def __ne__(self, other: object) -> bool:
        return bool(unwrap(self) != unwrap(other))

    def __lt__(self, other: Any) -> Any:
        return unwrap(self) < unwrap(other)

    def __le__(self, other: Any) -> Any:
        return unwrap(self) <= unwrap(other)

    def __gt__(self, other: Any) -> Any:
        return unwrap(self) > unwrap(other)

    def __ge__(self, other: Any) -> Any:
        return unwrap(self) >= unwrap(other)

    def __hash__(self) -> int:
        # A plugin without a hash of its own has that of its identity, which a reload changes;
        # the identity of the proxy is what lasts, so that it can be a key.
        instance = unwrap(self)
        if _by_identity(type(instance)):
            return object.__hash__(self)
        return hash(instance)

    def __reduce_ex__(self, protocol: object) -> Any:
        ref = type(self).__dagstack_gate__.ref
        msg = (
            f"cannot pickle or copy the proxy of {ref}: it stands for a live plugin; pass the "
            "plugin's kind and name and call registry.get_plugin there"
        )
        raise TypeError(msg)


def _by_identity(cls: Any) -> bool:
    return cls.__hash__ is object.__hash__


def unwrap(plugin: Any) -> Any:
    """The instance that `plugin`, a proxy, forwards to now; anything else is returned as it is.

    Keep it for no longer than a moment: after a reload it is the old one.
    """
    if isinstance(plugin, PluginProxy):
        return type(plugin).__dagstack_gate__.instance
    return plugin


def make_proxy(gate: Gate) -> PluginProxy:
    """A new proxy behind `gate`."""
    return object.__new__(_proxy_class(gate))


def follow(proxy: PluginProxy) -> None:
    """Fit the proxy to the class of the instance that its gate has now."""
    gate = type(proxy).__dagstack_gate__
    if type(proxy).__dagstack_class__ is not type(gate.instance):  # type: ignore[attr-defined]
        _set_type(proxy, _proxy_class(gate))


def _proxy_class(gate: Gate) -> type[PluginProxy]:
    target = type(gate.instance)
    known: dict[str, Any] = {
        "__slots__": (),
        "__doc__": target.__doc__,
        "__module__": target.__module__,
        "__dagstack_gate__": gate,
        "__dagstack_class__": target,
        "__class__": property(lambda _: type(gate.instance)),
        "__dict__": property(lambda _: vars(gate.instance)),
    }
    if target is not type(None):
        for base in reversed(target.__mro__[:-1]):
            for name, member in vars(base).items():
                forwarder = _forwarder(gate, name, member)
                if forwarder is not None:
                    known[name] = forwarder
                elif name not in _NEVER_FORWARDED:
                    known.pop(name, None)
    return type(target.__name__, (PluginProxy,), known)


def _forwarder(gate: Gate, name: str, member: object) -> Any:
    """A function that forwards to the method `name`, or None for what is no method."""
    if name in _NEVER_FORWARDED or not name.isidentifier() or iskeyword(name):
        return None
    if isinstance(member, FunctionType):
        shape, params, args = _signature(member.__code__)
    elif isinstance(member, staticmethod | classmethod) or (
        name.startswith("__") and name.endswith("__") and callable(member)
    ):
        shape, params, args = "plain", "_self, /, *args, **kwargs", "*args, **kwargs"
    else:
        return None
    make = _factory(shape, name, params, args)
    forwarder = make(gate, gate.in_flight.append, gate.in_flight.pop)
    if isinstance(member, FunctionType):
        update_wrapper(forwarder, member)
        forwarder.__defaults__ = member.__defaults__
        forwarder.__kwdefaults__ = member.__kwdefaults__
    return forwarder


def _signature(code: CodeType) -> tuple[str, str, str]:
    """How a function is called: its shape, its parameters and the arguments to pass on."""
    shape = "plain"
    if code.co_flags & inspect.CO_COROUTINE:
        shape = "coroutine"
    elif code.co_flags & inspect.CO_ASYNC_GENERATOR:
        shape = "async generator"
    elif code.co_flags & inspect.CO_GENERATOR:
        shape = "generator"
    names = code.co_varnames
    positional = list(names[: code.co_argcount])
    keyword = list(names[code.co_argcount : code.co_argcount + code.co_kwonlyargcount])
    rest = list(names[code.co_argcount + code.co_kwonlyargcount :])
    if not positional or any(each.startswith(("_gate", "_mark", "_lift")) for each in names):
        return shape, "_self, /, *args, **kwargs", "*args, **kwargs"
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
    return shape, ", ".join(params), ", ".join(args)


_HEADS: Final = {
    "plain": ("def", "_gate.wait_in_thread()"),
    "generator": ("def", "_gate.wait_in_thread()"),
    "coroutine": ("async def", "await _gate.wait()"),
    "async generator": ("async def", "await _gate.wait()"),
}

_BODIES: Final = {
    "plain": "return {call}",
    "coroutine": "return await {call}",
    "generator": "return (yield from {call})",
    # What `yield from` does, for which asynchronous generators have no syntax (PEP 525).
    "async generator": """_stream = {call}
            try:
                _item = await anext(_stream)
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
    body = _BODIES[shape].format(call=f"_gate.instance.{name}({args})")
    source = f"""
def make(_gate, _mark, _lift):
    {define} {name}({params}):
        _mark(None)
        try:
            if _gate.closed:
                {wait}
            {body}
        finally:
            _lift()
            if _gate.closed:
                _gate.call_ended()
    return {name}
"""
    namespace: dict[str, Any] = {}
    exec(compile(source, FORWARDER_FILE, "exec"), namespace)  # noqa: S102 - our own text
    make: Callable[..., Any] = namespace["make"]
    return make
