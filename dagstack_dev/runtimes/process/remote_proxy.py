"""What stands in the app for a plugin that lives in a process of its own: its methods."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, Final

from dagstack_dev.core.errors.calls import PluginUnavailable
from dagstack_dev.core.errors.remote import NotTransferable, OutOfReach
from dagstack_dev.runtimes.code import all_code
from dagstack_dev.runtimes.process.transfer import Method

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from dagstack_dev.core.manifest.fields import PluginManifest
    from dagstack_dev.core.ports import OwningContext
    from dagstack_dev.core.refs import PluginRef
    from dagstack_dev.runtimes.code import CodeFile
    from dagstack_dev.runtimes.process.remote import Remote

LIFECYCLE: Final = frozenset({"setup", "teardown"})

_PLAIN: Final = frozenset({str, bytes, int, float, complex, bool, type(None), type(...)})


class _Shown:
    """Stands for a default value that exists in the other process only."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __repr__(self) -> str:
        return self._text


def early_methods(files: Iterable[CodeFile]) -> tuple[Method, ...]:
    """Return what may be methods of a plugin, as its compiled code shows before it has run.

    Every public function in any class of it: calls of these can wait for the plugin.
    """
    names = {
        inner.co_name
        for file in files
        if file.code is not None
        for code in all_code(file.code)
        if "__qualname__" in code.co_names  # The body of a class.
        for inner in code.co_consts
        if inspect.iscode(inner) and _is_public(inner.co_name)
    }
    return tuple(map(Method, sorted(names)))


def methods_of(instance: object) -> tuple[Method, ...]:
    """Return the public methods of a plugin, those in its own attributes included."""
    found: dict[str, object] = {}
    for base in reversed(type(instance).__mro__[:-1]):
        found |= vars(base)
    names = [name for name, member in found.items() if _is_function(member)]
    own = getattr(instance, "__dict__", {})
    names += [name for name, member in own.items() if inspect.isroutine(member)]
    return tuple(_method(name, getattr(instance, name)) for name in names if _is_public(name))


def _is_public(name: str) -> bool:
    return name.isidentifier() and not name.startswith("_") and name not in LIFECYCLE


def _is_function(member: object) -> bool:
    return isinstance(member, staticmethod | classmethod) or inspect.isroutine(member)


def _method(name: str, function: Any) -> Method:
    own = inspect.Parameter("self", inspect.Parameter.POSITIONAL_ONLY)
    try:
        parameters = inspect.signature(function).parameters.values()
        shown = inspect.Signature([own, *map(_portable, parameters)])
    except (TypeError, ValueError):  # Written in C, perhaps.
        shown = None
    streams = inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function)
    return Method(name, getattr(function, "__doc__", None), shown, streams)


def _portable(parameter: inspect.Parameter) -> inspect.Parameter:
    """Return `parameter` with its annotation, and a default that is not plain, as text."""
    annotation, default = parameter.annotation, parameter.default
    if annotation is not inspect.Parameter.empty and not isinstance(annotation, str):
        annotation = inspect.formatannotation(annotation)
    if default is not inspect.Parameter.empty and type(default) not in _PLAIN:
        default = _Shown(repr(default))
    return parameter.replace(annotation=annotation, default=default)


class RemoteProxy:
    """Has the public methods of the plugin, each as a coroutine function, and nothing else.

    Before the setup they are those that the code seems to define; from then on those that the
    plugin really has.
    """

    _dagstack_manifest: PluginManifest
    _dagstack_make_remote: Callable[[], Remote]
    _dagstack_remote: Remote | None = None

    async def setup(self, context: OwningContext) -> None:
        """Start the process and set the plugin up there; see `Remote.start`."""
        remote = self._dagstack_make_remote()
        object.__setattr__(self, "_dagstack_remote", remote)
        methods = await remote.start(context)
        found = remote_proxy_class(self._dagstack_manifest, methods)
        object.__setattr__(self, "__class__", found)

    async def teardown(self) -> None:
        """Tear the plugin down there; see `Remote.stop`."""
        if self._dagstack_remote is not None:
            await self._dagstack_remote.stop()

    def _dagstack_waits_for(self) -> Sequence[str]:
        """Return the calls that its teardown waits for, since they keep the plugin busy."""
        return () if self._dagstack_remote is None else self._dagstack_remote.holdups()

    def _dagstack_uncounted(self) -> float:
        """Return for how many seconds of the setup a debugger has stopped the process."""
        return 0.0 if self._dagstack_remote is None else self._dagstack_remote.held_seconds

    def __getattr__(self, name: str) -> Any:
        raise self._dagstack_refusal(name)

    def __setattr__(self, name: str, value: object) -> None:
        raise self._dagstack_refusal(name)

    def __delattr__(self, name: str) -> None:
        raise self._dagstack_refusal(name)

    def _dagstack_refusal(self, name: str) -> OutOfReach:
        reason = (
            "only public methods of the plugin can be called from here; add one that does or "
            "answers what is needed"
        )
        return OutOfReach(self._dagstack_manifest.ref, f"the attribute {name!r}", reason)


def remote_proxy_class(manifest: PluginManifest, methods: Iterable[Method]) -> type[RemoteProxy]:
    """Return a class named as that of the plugin, which forwards calls to its process.

    Args:
        manifest: of the plugin.
        methods: those that can be called.
    """
    ref = manifest.ref
    members: dict[str, Any] = {each.name: _forwarding(each, ref) for each in methods}
    members["_dagstack_manifest"] = manifest
    return type(manifest.entry_class, (RemoteProxy,), members)


def make_remote_proxy(cls: type[RemoteProxy], make_remote: Callable[[], Remote]) -> RemoteProxy:
    """Return an instance of `cls` that forwards to what `make_remote` makes for each setup."""
    instance = cls()
    object.__setattr__(instance, "_dagstack_make_remote", make_remote)
    return instance


def _forwarding(method: Method, ref: PluginRef) -> Callable[..., Any]:
    name = method.name

    async def forward(self: RemoteProxy, /, *args: object, **kwargs: object) -> Any:
        if method.streams:
            reason = "it yields one item after the other; return a list"
            raise NotTransferable(ref, f"the stream of {name}()", reason)
        remote = self._dagstack_remote
        if remote is None:
            raise PluginUnavailable(ref, "its process starts with its setup")
        return await remote.call(name, args, kwargs)

    forward.__name__ = forward.__qualname__ = name
    forward.__doc__ = method.doc
    if method.signature is not None:
        forward.__signature__ = method.signature  # type: ignore[attr-defined]  # for `inspect`
    return forward
