"""What stands in the app for a plugin that lives in a process of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dagstack_dev.core.errors.calls import PluginUnavailable
from dagstack_dev.core.errors.remote import NotTransferable, OutOfReach
from dagstack_dev.runtimes.process.description import signature

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from dagstack_dev.core.manifest.fields import PluginManifest
    from dagstack_dev.core.ports import OwningContext
    from dagstack_dev.core.refs import PluginRef
    from dagstack_dev.runtimes.process.description import Method
    from dagstack_dev.runtimes.process.remote import Remote


class StandIn:
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
        found = stand_in_class(self._dagstack_manifest, methods)
        object.__setattr__(self, "__class__", found)

    async def teardown(self) -> None:
        """Tear the plugin down there; see `Remote.stop`."""
        if self._dagstack_remote is not None:
            await self._dagstack_remote.stop()

    def _dagstack_waits_for(self) -> Sequence[str]:
        """See `core.ports.ActsElsewhere`."""
        return () if self._dagstack_remote is None else self._dagstack_remote.holdups()

    def _dagstack_uncounted(self) -> float:
        """See `core.ports.LoadsLate`: how long a debugger has stopped the process."""
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


def stand_in_class(manifest: PluginManifest, methods: Iterable[Method]) -> type[StandIn]:
    """A class with these methods, named as that of the plugin."""
    ref = manifest.ref
    members: dict[str, Any] = {each.name: _forwarding(each, ref) for each in methods}
    members["_dagstack_manifest"] = manifest
    return type(manifest.entry_class, (StandIn,), members)


def make_stand_in(cls: type[StandIn], make_remote: Callable[[], Remote]) -> StandIn:
    """An instance of `cls` that forwards to what `make_remote` makes, anew for each setup."""
    instance = cls()
    object.__setattr__(instance, "_dagstack_make_remote", make_remote)
    return instance


def _forwarding(method: Method, ref: PluginRef) -> Callable[..., Any]:
    name = method.name

    async def forward(self: StandIn, /, *args: object, **kwargs: object) -> Any:
        if method.streams:
            reason = "it yields one item after the other; return a list"
            raise NotTransferable(ref, f"the stream of {name}()", reason)
        remote = self._dagstack_remote
        if remote is None:
            raise PluginUnavailable(ref, "its process starts with its setup")
        return await remote.call(name, args, kwargs)

    forward.__name__ = forward.__qualname__ = name
    forward.__doc__ = method.doc
    shown = signature(method, ref)
    if shown is not None:
        forward.__signature__ = shown  # type: ignore[attr-defined]  # what `inspect` looks for
    return forward
