"""What the rooms ask of each other, as Protocols."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, MutableMapping
    from collections.abc import Set as AbstractSet
    from contextlib import AbstractAsyncContextManager, AbstractContextManager

    from dagstack_dev.core.events import Fact
    from dagstack_dev.core.manifest.fields import PluginManifest
    from dagstack_dev.core.refs import PluginRef
    from dagstack_dev.core.sources import PluginSource

T = TypeVar("T")

PARAMETERS: Final = "__dagstack_parameters__"
"""The attribute of a method that holds the JSON Schema of its arguments, if its runtime has one."""


class Observer(Protocol):
    """Is called with every fact, in order. Must not block.

    What it raises is reported on stderr, once, and ignored; but `KeyboardInterrupt` and
    `SystemExit` end what is under way. Called on the loop's thread, except for `PluginBlocking`,
    which comes from the watchdog's at any moment: the loop is busy just then.
    """

    def __call__(self, fact: Fact, /) -> None:
        """Take notice of `fact`."""


class Imported(NamedTuple):
    """What a plugin has imported, or tried to.

    Attributes:
        code: the paths of shared code, each with the fingerprint of what ran, and other plugins.
        absent: the modules that were not there, and still are not.
    """

    code: Mapping[str | PluginRef, bytes | None] = MappingProxyType({})
    absent: AbstractSet[str] = frozenset()


class Generation(Protocol):
    """One import of one plugin's code, able to make instances of its class.

    Attributes:
        is_undone: whether the last teardown has taken out of other modules what the import had
            put there. Another instance would miss it: the code has to be imported anew.
    """

    is_undone: bool

    def instantiate(self) -> object:
        """Return a new instance. Raises `PluginLoadError` when the constructor does."""

    def unload(self) -> None:
        """Make room for the next generation; this one may still come back."""

    def activate(self) -> None:
        """Make this the generation that imports resolve to again, after `unload`."""

    def tearing_down(self) -> AbstractContextManager[None]:
        """Return a block in which the teardown of its instance runs."""

    def note_failure(self) -> None:
        """Its newest instance has failed, and may have left a port or a lock behind.

        What is garbage of it is to be collected before more code of plugins runs.
        """

    def retire(self) -> None:
        """Drop what only this generation needs. The instance must be torn down already."""

    def is_gone(self) -> bool:
        """Return whether nothing of a retired generation can be reached any more.

        Quick, and never wrongly true; wrongly false where garbage holds what is left.
        """

    def survivors(self) -> tuple[str, ...]:
        """Return what of a retired generation can be reached, in words; empty when it is gone.

        May take a tenth of a second or more. To be asked after a garbage collection.
        """


class Prepared(Protocol):
    """A plugin's code, read and compiled, that has not run yet."""

    def load(self) -> Generation:
        """Execute the code. Raises `PluginLoadError`."""


class SharedCodeChange(Protocol):
    """New content of code that several plugins import and that is none of them."""

    @property
    def plugins(self) -> frozenset[PluginRef]:
        """Those that import it."""

    def importers(self) -> frozenset[PluginRef]:
        """Return those that have imported it by now, `plugins` or not."""

    def activate(self) -> None:
        """Let imports find the new content; the plugins that import it must be down."""

    def revert(self) -> None:
        """The reverse of `activate`."""

    def keep(self) -> None:
        """The new content stands; there is no way back."""


class LoadsOnDemand(Protocol):
    """What a runtime asks its host when code of one plugin is imported by another one."""

    def need(self, ref: PluginRef) -> str | None:
        """Load `ref`, of which nothing is loaded, if it is about to be loaded anyway.

        Returns:
            Why its code cannot be imported, should that still be so; None if there is no such
            plugin.
        """

    def note_import(self, importer: PluginRef | None, ref: PluginRef, path: str, line: int) -> None:
        """Note that code of a plugin has been imported.

        Called in any thread, in the midst of plugin code.

        Args:
            importer: the plugin whose code imports it; None for shared code.
            ref: the plugin whose code is imported.
            path: the file that imports it.
            line: the line there, counted from 1.
        """


class Runtime(Protocol):
    """Runs plugins of one kind of runtime."""

    def prepare(
        self, manifest: PluginManifest, source: PluginSource, previous: Prepared | None = None
    ) -> Prepared:
        """Check and compile without touching anything live.

        `previous` is what was prepared for the same plugin before; unchanged files need no work.
        Raises `PluginLoadError` or `ManifestInvalid`.
        """

    def importers(self, ref: PluginRef) -> frozenset[PluginRef]:
        """Return the other plugins whose running code has imported code of `ref`."""

    def imports_of(self, ref: PluginRef) -> Imported:
        """Return what `ref` has imported by now of code that is not its own, or tried to."""


class OwningContext(Protocol):
    """What an instance that a runtime has made takes of the context of its `setup`.

    `host.services.context.PluginContext` says what each is; runtimes see no more of it than this.
    """

    config: Mapping[str, Any]
    logger: Any
    resources: Any
    metadata: Mapping[str, Any]
    carry: MutableMapping[str, Any]

    def start_soon(
        self, function: Callable[..., Awaitable[object]], *args: object, name: str | None = None
    ) -> None:
        """Run an asynchronous function in a background task of the plugin."""

    async def enter_async(self, manager: AbstractAsyncContextManager[T, Any]) -> T:
        """Enter a manager that is left when the plugin is torn down."""

    def callback(self, function: Callable[..., object], *args: object, **kwargs: object) -> None:
        """Call a function when the plugin is torn down."""
