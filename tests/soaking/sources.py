"""What a plugin folder and a configuration hold, as values."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from soaking.modules import Imports


class Life(StrEnum):
    """What a plugin starts in its setup, and ends in its teardown or leaves to its context."""

    PLAIN = "plain"
    SLOW = "slow"
    GROUP = "group"
    TASK = "task"
    THREAD = "thread"
    OWNED_TASK = "owned_task"
    OWNED_THREAD = "owned_thread"
    OWNED_GROUP = "owned_group"
    CALLBACKS = "callbacks"


class Fault(StrEnum):
    """What is wrong with a plugin."""

    NONE = "none"
    TOML = "toml"
    MANIFEST = "manifest"
    CORE_VERSION = "core_version"
    SYNTAX = "syntax"
    EMPTY = "empty"
    NO_ENTRY = "no_entry"
    NO_CLASS = "no_class"
    IMPORT = "import"
    CONSTRUCT = "construct"
    SETUP = "setup"
    TEARDOWN = "teardown"


class Use(StrEnum):
    """When a plugin imports a helper module of its own."""

    TOP = "top"
    SETUP = "setup"
    CALL = "call"
    NEVER = "never"


@dataclass(frozen=True, slots=True)
class Helper:
    """A module beside `plugin.py`.

    Attributes:
        path: dotted, below the plugin's package.
        version: as its text says.
        use: when the plugin imports it.
        imports: other helpers that it imports, perhaps in a circle.
        broken: whether it does not compile.
    """

    path: str
    version: int
    use: Use = Use.TOP
    imports: tuple[str, ...] = ()
    broken: bool = False


@dataclass(frozen=True, slots=True)
class Source:
    """What one folder holds.

    Attributes:
        kind, name, priority: as the manifest says.
        version: as `plugin.py` says; every text has another one of the same length.
        api: what `demands` of others are held against.
        wants: `depends_on`; with a slash it is `kind/name`.
        borrows: plugins whose code it imports, in `wants` or not; all with a slash.
        demands: the `api` that the setup insists on, by dependency.
        life: what it starts in its setup.
        fault: what is wrong with it.
        helpers: its other modules.
        shared: the shared modules that it imports.
        asset: the text of a data file that the setup reads, if there is one.
        online: whether the setup needs a service that may be out of order.
        wary: whether the setup does not go with some versions of what it depends on.
        strict: whether the manifest says of what form its section of the configuration is.
    """

    kind: str
    name: str
    version: int
    priority: int = 0
    api: int = 1
    wants: tuple[str, ...] = ()
    borrows: tuple[str, ...] = ()
    demands: tuple[tuple[str, int], ...] = ()
    life: Life = Life.PLAIN
    fault: Fault = Fault.NONE
    helpers: tuple[Helper, ...] = ()
    shared: Imports = ()
    asset: str | None = None
    online: bool = False
    wary: bool = False
    strict: bool = False

    @property
    def ref(self) -> str:
        """Kind and name."""
        return f"{self.kind}/{self.name}"

    def helper(self, path: str) -> Helper | None:
        """The helper at `path`, if there is one."""
        return next((each for each in self.helpers if each.path == path), None)


@dataclass(frozen=True, slots=True)
class Section:
    """A table of the configuration file.

    Attributes:
        version: something to tell it by.
        fails: whether the plugin is to fail with it.
        fits: whether it is of the form that strict plugins ask for.
    """

    version: int
    fails: bool = False
    fits: bool = True
