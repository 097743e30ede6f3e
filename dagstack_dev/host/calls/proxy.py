"""What `get_plugin` returns: one object per plugin, for the registry's whole life.

A proxy has a class of its own, generated from the plugin's class: each method becomes a
forwarding method with the very same signature, so that a call costs one attribute look-up, one
mark in the gate's list and the call itself. Everything else goes through `__getattr__`. When a
new generation comes, the proxy's class is generated anew and put in place of the old one.
"""

from __future__ import annotations

from functools import update_wrapper
from types import FunctionType, MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from dagstack_dev.core.errors.calls import DispatchMismatch, PluginUnavailable
from dagstack_dev.host.calls.forwarding import forwarder_like, is_special, make_forwarder, shape_at

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from dagstack_dev.core.hookspecs.kinds import DispatchClass
    from dagstack_dev.host.calls.gate import Gate

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


HOOK_PREFIX: Final = "dagstack hook "
"""Before the name of a reserved hook, where a dispatcher finds it; no plugin has such a name."""

_PROTOCOLS: Final = (
    "__len__",
    "__iter__",
    "__contains__",
    "__getitem__",
    "__setitem__",
    "__delitem__",
    "__call__",
    "__enter__",
    "__exit__",
    "__aenter__",
    "__aexit__",
    "__aiter__",
)
"""What Python looks up in the class, and a proxy without an instance refuses by name."""


class PluginProxy:
    """Stands for one plugin, whichever generation of it runs."""

    __slots__ = ("__weakref__",)

    __dagstack_gate__: Gate
    __dagstack_class__: type
    __dagstack_methods__: frozenset[str]
    __dagstack_shadows__: dict[str, str | None]
    __dagstack_in_threads__: bool
    __dagstack_reserved__: Mapping[str, DispatchClass]

    def __getattr__(self, name: str) -> Any:
        cls = type(self)
        gate = cls.__dagstack_gate__
        instance = gate.instance
        if instance is None:  # Asked here first, for speed.
            instance = _present(self)
        elif type(instance) is not cls.__dagstack_class__:
            follow(self)  # It is still the same, but has new methods: a server with other tools.
            return getattr(self, name)
        try:
            return getattr(instance, name)
        except AttributeError:
            early = gate.early_error()
            if early is None:
                raise
            raise early from None

    def __setattr__(self, name: str, value: object) -> None:
        setattr(_present(self), name, value)
        follow(self)

    def __delattr__(self, name: str) -> None:
        delattr(_present(self), name)
        follow(self)

    def __dir__(self) -> list[str]:
        return dir(_present(self))

    def __repr__(self) -> str:
        return repr(unwrap(self)) if _is_present(self) else _obituary(self)

    def __str__(self) -> str:
        return str(unwrap(self)) if _is_present(self) else _obituary(self)

    def __format__(self, spec: str) -> str:
        return format(unwrap(self) if _is_present(self) else _obituary(self), spec)

    def __bool__(self) -> bool:
        return bool(_present(self))

    def __eq__(self, other: object) -> bool:
        return bool(_present(self) == _present(other))

    def __ne__(self, other: object) -> bool:
        return bool(_present(self) != _present(other))

    def __lt__(self, other: Any) -> Any:
        return _present(self) < _present(other)

    def __le__(self, other: Any) -> Any:
        return _present(self) <= _present(other)

    def __gt__(self, other: Any) -> Any:
        return _present(self) > _present(other)

    def __ge__(self, other: Any) -> Any:
        return _present(self) >= _present(other)

    def __hash__(self) -> int:
        # A plugin without a hash of its own has that of its identity, which a reload changes;
        # the identity of the proxy is what lasts, so that it can be a key.
        instance = unwrap(self)
        if instance is None or _by_identity(type(instance)):
            return object.__hash__(self)
        return hash(instance)

    def __reduce_ex__(self, protocol: object) -> Any:
        ref = type(self).__dagstack_gate__.ref
        msg = (
            f"cannot pickle or copy the proxy of {ref}: it stands for a live plugin; pass the "
            "plugin's kind and name and call registry.get_plugin there"
        )
        raise TypeError(msg)

    def __deepcopy__(self, memo: object) -> Any:
        return self.__reduce_ex__(0)


def _by_identity(cls: Any) -> bool:
    return cls.__hash__ is object.__hash__


def unwrap(plugin: Any) -> Any:
    """Return the instance that a proxy forwards to now; anything else as it is.

    Keep it for no longer than a moment: after a reload it is the old one.
    """
    if isinstance(plugin, PluginProxy):
        return type(plugin).__dagstack_gate__.instance
    return plugin


def _is_present(proxy: PluginProxy) -> bool:
    gate = type(proxy).__dagstack_gate__
    return gate.instance is not None or gate.refusal is None


def _present(plugin: Any) -> Any:
    """As `unwrap`.

    Raises:
        PluginUnavailable: there is no instance, and none is about to come.
    """
    if isinstance(plugin, PluginProxy) and not _is_present(plugin):
        gate = type(plugin).__dagstack_gate__
        raise PluginUnavailable(gate.ref, gate.refusal or "")
    return unwrap(plugin)


def _obituary(proxy: PluginProxy) -> str:
    gate = type(proxy).__dagstack_gate__
    return f"<unavailable plugin {gate.ref}: {gate.refusal}>"


def make_proxy(
    gate: Gate, reserved: Mapping[str, DispatchClass] = MappingProxyType({})
) -> PluginProxy:
    """Return a new proxy behind `gate`, whose `reserved` hooks only a dispatcher may call."""
    return object.__new__(_proxy_class(gate, reserved))


def follow(proxy: PluginProxy) -> None:
    """Fit the proxy to the instance that its gate has now: its class, and what shadows methods.

    To be called again when the instance's attributes may have changed.
    """
    cls = type(proxy)
    gate = cls.__dagstack_gate__
    if (
        cls.__dagstack_class__ is not type(gate.instance)
        or cls.__dagstack_in_threads__ != gate.in_threads
        or _shadows(gate, cls.__dagstack_methods__) != cls.__dagstack_shadows__
    ):
        refit(proxy)


def refit(proxy: PluginProxy, reserved: Mapping[str, DispatchClass] | None = None) -> None:
    """Generate the proxy's class anew, with other `reserved` hooks if they are given."""
    cls = type(proxy)
    if reserved is None:
        reserved = cls.__dagstack_reserved__
    _set_type(proxy, _proxy_class(cls.__dagstack_gate__, reserved))
    _let_go(cls)


def _let_go(cls: type[PluginProxy]) -> None:
    """Drop what a class that is no proxy's any more knows of the plugin's class.

    Every class is in a cycle with itself: it would keep the plugin's until garbage is collected.
    """
    cls.__dagstack_class__ = type(None)
    for name in [name for name, member in vars(cls).items() if type(member) is FunctionType]:
        delattr(cls, name)


def _proxy_class(gate: Gate, reserved: Mapping[str, DispatchClass]) -> type[PluginProxy]:
    target = type(gate.instance)
    methods: dict[str, Any] = {}
    if target is type(None):  # Which protocols it follows is not known; each asks the gate.
        methods |= {name: make_forwarder(gate, name, "plain") for name in _PROTOCOLS}
    else:
        for base in reversed(target.__mro__[:-1]):
            for name, member in vars(base).items():
                if name in _NEVER_FORWARDED:
                    continue
                forwarder = forwarder_like(gate, name, member)
                if forwarder is not None or (member is None and is_special(name)):
                    methods[name] = forwarder  # None is how a class switches a protocol off.
                else:
                    methods.pop(name, None)
    names = frozenset(methods) | reserved.keys()
    shadows = _shadows(gate, names)
    for name, shape in shadows.items():
        if shape is None:
            methods.pop(name, None)
        else:
            methods[name] = make_forwarder(gate, name, shape)
    if reserved:
        _reserve(gate, reserved, methods)
    known = {
        "__slots__": (),
        "__doc__": target.__doc__,
        "__module__": target.__module__,
        "__dagstack_gate__": gate,
        "__dagstack_class__": target,
        "__dagstack_methods__": names,
        "__dagstack_shadows__": shadows,
        "__dagstack_in_threads__": gate.in_threads,
        "__dagstack_reserved__": reserved,
        "__class__": property(lambda _: type(gate.instance)),
        "__dict__": property(lambda _: gate.instance.__dict__),
    }
    return type(target.__name__, (PluginProxy,), methods | known)


def _shadows(gate: Gate, methods: frozenset[str]) -> dict[str, str | None]:
    """Return the methods whose place an attribute of the instance takes.

    Each with the shape that the attribute has, or None when it cannot be called.
    """
    return {
        name: shape_at(gate, name, value) if callable(value) else None
        for name, value in getattr(gate.instance, "__dict__", {}).items()
        if name in methods and not is_special(name)
    }


def _reserve(gate: Gate, reserved: Mapping[str, DispatchClass], methods: dict[str, Any]) -> None:
    """Keep hooks for dispatchers: they find them under another name."""
    for hook, dispatch in reserved.items():
        forward = methods.get(hook)
        if forward is None:
            attribute = getattr(gate.instance, hook, None)
            if not callable(attribute):
                continue
            forward = make_forwarder(gate, hook, shape_at(gate, hook, attribute))
        methods[HOOK_PREFIX + hook] = forward
        methods[hook] = _refuser(gate, hook, dispatch, forward)


def _refuser(
    gate: Gate, hook: str, dispatch: DispatchClass, forward: Callable[..., Any]
) -> Callable[..., Any]:
    """Return what stands in the place of a reserved hook (contract, section 8)."""

    def refuse(_self: object, /, *_args: object, **_kwargs: object) -> None:
        raise DispatchMismatch(gate.ref.kind, hook, dispatch, ref=gate.ref)

    update_wrapper(refuse, forward)
    return refuse
