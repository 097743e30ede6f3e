"""Who imports whom, noted with every import that happens; `import_hooks` tells when one does."""

from __future__ import annotations

import sys
from collections import defaultdict
from itertools import filterfalse
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from dagstack_dev.core.blame import NAMESPACE, current_module
from dagstack_dev.runtimes.shared.static_imports import with_parents

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
    from types import FrameType


_NOTHING: Final[frozenset[str]] = frozenset()  # One for all: each takes 216 bytes.


class Imports(NamedTuple):
    """What a module has imported or tried to, and what of that was not there when it tried."""

    names: frozenset[str]
    absent: frozenset[str]


class ImportLog:
    """The imports made by modules that are followed, by module name.

    A module has an owner: what it is unloaded and restored together with, such as a plugin's
    package. An import counts for the module that is imported and for every package around it,
    for those run first. What could not be imported is noted too: it may be there one day.

    Attributes:
        namespace: the first part of the names of this registry's plugins; for any registry's,
            `NAMESPACE` is written in its place.
        stale: modules that are out of date, as is whatever imports them; no plugin does.
        renew: called with a module that is none of them and those that it is about to import.
        adopt: called with a module that is imported and not followed; it may `follow` it.
        on_rewired: called when shared code has come to import something else.
        on_outside: called with a module and those that it has imported which are followed and
            have another owner.
    """

    def __init__(self) -> None:
        self.namespace = NAMESPACE
        self.stale: set[str] = set()
        self.renew: Callable[[str, Collection[str]], None] = lambda *_: None
        self.adopt: Callable[[str], object] = lambda _: None
        self.on_rewired: Callable[[], None] = lambda: None
        self.on_outside: Callable[[str, Collection[str]], None] = lambda *_: None
        self._owners: dict[str, str] = {}
        self._members: defaultdict[str, set[str]] = defaultdict(set)
        self._imports: dict[str, set[str]] = {}
        self._statements: dict[str, set[tuple[str, Sequence[str], int]]] = {}
        self._importers: defaultdict[str, set[str]] = defaultdict(set)
        self._absent_for: defaultdict[str, set[str]] = defaultdict(set)
        self._spaces: set[str] = set()

    def add_space(self, module: str) -> None:
        """`module` is a package without code of its own, where packages with code are.

        It counts for a module that imports just it: anything in it may be what is meant.
        """
        self._spaces.add(module)

    def own_name(self, module: str) -> str:
        """Return what is meant by `module` in code of this registry."""
        top, dot, rest = module.partition(".")
        return f"{self.namespace}{dot}{rest}" if top == NAMESPACE else module

    def follow(self, module: str, owner: str) -> None:
        """From now on note what `module`, which is about to run, imports; forget what it did."""
        self._clear(module)
        self._owners[module] = owner
        self._members[owner].add(module)
        logs[module] = self

    def unfollow(self, owner: str) -> dict[str, Imports]:
        """Follow the modules of `owner` no longer; the answer is what each has imported."""
        members = tuple(self._members.pop(owner, ()))
        taken = {}
        for module in members:
            names = frozenset(self._imports.get(module, ()))
            absent = filter(lambda each: module in self._absent_for.get(each, ()), names)
            taken[module] = Imports(names, frozenset(absent))
            self._clear(module)
            del self._owners[module]
            if logs.get(module) is self:
                del logs[module]
        return taken

    def follow_again(self, owner: str, taken: Mapping[str, Imports]) -> None:
        """The reverse of `unfollow`."""
        for module, imports in taken.items():
            self.follow(module, owner)
            self._note(module, imports)

    def close(self) -> None:
        """Follow nothing any more."""
        for owner in list(self._members):
            self.unfollow(owner)

    def add(self, importer: str, imported: Iterable[str]) -> None:
        """`importer` has imported these modules or tried to; it counts if it is followed still."""
        names = frozenset(imported) - {importer}
        self._note(importer, Imports(names, frozenset(filterfalse(self._is_there, names))))
        own = self._owners.get(importer)
        outside = [each for each in names if self._owners.get(each, own) != own]
        if own is not None and outside:
            self.on_outside(importer, outside)

    def _is_there(self, module: str) -> bool:
        return module in self._owners or module in self._spaces

    def _note(self, importer: str, imports: Imports) -> None:
        if not imports.names or importer not in self._owners:  # A thread of it has taken its time.
            return
        self._imports.setdefault(importer, set()).update(imports.names)
        if not self.is_plugins(importer):
            self.on_rewired()
        for module in imports.names:
            self._importers[module].add(importer)
        for module in imports.absent:
            self._absent_for[module].add(importer)

    def _clear(self, module: str) -> None:
        if not self.is_plugins(module):
            self.on_rewired()
        self._statements.pop(module, None)
        for imported in tuple(self._imports.pop(module, ())):  # A thread of it may import still.
            importers = self._importers[imported]
            importers.discard(module)
            if not importers:
                del self._importers[imported]
            self._miss_no_more(module, imported)

    def _miss_no_more(self, importer: str, imported: str) -> None:
        missing = self._absent_for.get(imported, set())
        if importer in missing:
            missing.discard(importer)
            if not missing:
                del self._absent_for[imported]

    def follows(self, module: str) -> bool:
        """Return whether the imports of `module` are noted."""
        return module in self._owners

    def followed(self) -> Collection[str]:
        """Return the modules whose imports are noted."""
        return list(self._owners)

    def members(self, owner: str) -> Collection[str]:
        """Return the modules of `owner` that are followed."""
        return self._members.get(owner, ())

    def owner(self, module: str) -> str:
        """Return the owner of a module that is followed."""
        return self._owners[module]

    def reached_from(self, module: str) -> set[str]:
        """`module` and the modules that it imports, directly or through shared ones."""
        reached: set[str] = set()
        todo = [module]
        while todo:
            name = todo.pop()
            if name in self._owners and name not in reached:
                reached.add(name)
                todo += () if self.is_plugins(name) else self._imports.get(name, ())
        return reached

    def reached_by(self, owner: str) -> set[str]:
        """Return the modules that those of `owner` have imported or tried to, directly or not."""
        reached: set[str] = set()
        todo = [*self.members(owner)]
        while todo:
            news = self._imports.get(todo.pop(), set()) - reached
            reached |= news
            todo += news
        return reached

    def is_plugins(self, module: str) -> bool:
        """Return whether it is a module of some plugin's."""
        return module.startswith(f"{self.namespace}.")

    def importers(self, module: str) -> Sequence[str]:
        """Return the modules that have imported `module`, or tried to, sorted."""
        return sorted(self._importers.get(module, ()))

    @property
    def missing(self) -> frozenset[str]:
        """The modules that were imported, or tried to, and that are not there."""
        return frozenset(filter(self.is_absent, [*self._importers]))

    def is_absent(self, module: str) -> bool:
        """Return whether `module` was imported, or tried to, and is not there."""
        return module in self._importers and not self._is_there(module)

    @property
    def late(self) -> frozenset[str]:
        """The modules that are there, and were not yet when a module tried to import them."""
        return frozenset(self._absent_for.keys() & self._owners.keys())

    def accept(self, module: str) -> None:
        """What has done without `module` has had another chance, and does so on purpose."""
        self._absent_for.pop(module, None)

    def is_news(self, importer: str, statement: tuple[str, Sequence[str], int]) -> bool:
        """Return whether `importer` has not yet succeeded with this name, names and level."""
        if importer not in self._owners:
            return False
        known = self._statements.setdefault(importer, set())
        if statement in known:
            return False
        known.add(statement)
        return True

    def look_again(self) -> None:
        """What is followed may be more than before: note each import when it happens next."""
        for known in list(self._statements.values()):
            known.clear()

    def note(self, importer: str, name: str, names: Collection[str]) -> None:
        """`importer` has imported the module `name`, and from it `names`."""
        self.add(importer, (each for each in with_parents(name) if self._counts(each)))
        if name in self._spaces and not names:
            self.add(importer, (name,))
        for each in names:
            inner = f"{name}.{each}"
            if self._counts(inner) or inner in self._spaces:
                self.add(importer, (inner,))
            elif each == "*":
                public = getattr(sys.modules.get(name), "__all__", ())
                self.note(importer, name, [word for word in public if word != "*"])
            elif self._fails_to_give(name, each):  # Only the statement fails, after the import.
                self.add(importer, (inner,))

    def _fails_to_give(self, module: str, word: str) -> bool:
        loaded = sys.modules.get(module) if module in self._owners else None
        return loaded is not None and word not in namespace_of(loaded)

    def _counts(self, module: str) -> bool:
        if module not in self._owners:
            self.adopt(module)
        return module in self._owners

    def note_load(self, module: str) -> None:
        """`module`, which is followed, is about to run; by whatever way, it is imported."""
        found = followed_importer()
        if found is not None and found[0] is self:
            self._note(found[1], Imports(frozenset({module}), frozenset()))
            self._miss_no_more(found[1], module)  # It has made `module` to be found.

    def before(self, importer: str, name: str, names: Iterable[str]) -> None:
        """`importer` is about to import the module `name`, and from it `names`."""
        if not self.stale or importer in self.stale:
            return
        wanted = {*with_parents(name), *(f"{name}.{each}" for each in names)}
        if stale := wanted & self.stale:
            self.renew(importer, stale)

    def note_failure(self, importer: str, name: str, names: Collection[str]) -> None:
        """`importer` could not import the module `name`, or from it one of `names`."""
        self.note(importer, name, names)  # A package may have been found, though not all in it.
        attempted = {*with_parents(name), *(f"{name}.{each}" for each in names if each != "*")}
        self.add(importer, filter(_was_looked_for, attempted))


def _was_looked_for(module: str) -> bool:
    """Return whether an import can have looked for `module`: the package around it is there."""
    package = module.rpartition(".")[0]
    return module not in sys.modules and (not package or package in sys.modules)


logs: Final[dict[str, ImportLog]] = {}
"""By the name of each module that is followed: the log that follows it."""


def followed_importer(asker: str = "") -> tuple[ImportLog, str] | None:
    """Return the innermost module on the caller's stack that some log follows, with that log.

    Where there is none, `asker` if that is followed, or the module of the plugin whose context
    this is.
    """
    frame: FrameType | None = sys._getframe(1)  # noqa: SLF001 - the way to see the stack
    while frame is not None:
        name = frame.f_globals.get("__name__")
        if name in logs:
            return logs[name], name
        frame = frame.f_back
    name = asker if asker in logs else current_module.get()
    return (logs[name], name) if name in logs else None


def namespace_of(module: object) -> dict[str, Any]:
    """Return the attributes of what `sys.modules` holds, without loading a module that is lazy.

    Empty for an object in a module's place that keeps no such dict.
    """
    try:
        found = object.__getattribute__(module, "__dict__")
    except AttributeError:
        return {}
    return found if isinstance(found, dict) else {}
