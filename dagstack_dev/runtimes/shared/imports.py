"""Who imports whom, as plain data; an `ImportObserver` notes each import in it."""

from __future__ import annotations

import sys
from collections import defaultdict
from itertools import filterfalse
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from dagstack_dev.core.blame import NAMESPACE, current_module

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence
    from types import FrameType


_NOTHING: Final[frozenset[str]] = frozenset()  # One for all: each takes 216 bytes.


class Imports(NamedTuple):
    """What a module has imported or tried to, and what of that was not there when it tried."""

    names: frozenset[str]
    absent: frozenset[str]


class ImportGraph:
    """The imports made by modules that are followed, by module name.

    A module has an owner: what it is unloaded and restored together with, such as a plugin's
    package. An import counts for the module that is imported and for every package around it,
    for those run first. What could not be imported is noted too: it may be there one day.

    Args:
        namespace: the first part of the names of this registry's plugins.

    Attributes:
        rewired: how often shared code has come to import something else.
    """

    def __init__(self, namespace: str = NAMESPACE) -> None:
        self.namespace = namespace
        self.rewired = 0
        self._owners: dict[str, str] = {}
        self._members: defaultdict[str, set[str]] = defaultdict(set)
        self._imports: dict[str, set[str]] = {}
        self._statements: dict[str, set[tuple[str, Sequence[str], int]]] = {}
        self._importers: defaultdict[str, set[str]] = defaultdict(set)
        self._absent_for: defaultdict[str, set[str]] = defaultdict(set)
        self._spaces: set[str] = set()

    def add_space(self, module: str) -> None:
        """Note that `module` is a package without code of its own, where packages with code are.

        It counts for a module that imports just it: anything in it may be what is meant.
        """
        self._spaces.add(module)

    def is_space(self, module: str) -> bool:
        """Return whether `module` is such a package."""
        return module in self._spaces

    def follow(self, module: str, owner: str) -> None:
        """Note from now on what `module`, which is about to run, imports; forget what it did."""
        self._clear(module)
        self._owners[module] = owner
        self._members[owner].add(module)
        followed[module] = self

    def unfollow(self, owner: str) -> dict[str, Imports]:
        """Follow the modules of `owner` no longer; return what each has imported."""
        members = tuple(self._members.pop(owner, ()))
        taken = {}
        for module in members:
            names = frozenset(self._imports.get(module, ()))
            absent = filter(lambda each: module in self._absent_for.get(each, ()), names)
            taken[module] = Imports(names, frozenset(absent))
            self._clear(module)
            del self._owners[module]
            if followed.get(module) is self:
                del followed[module]
        return taken

    def follow_again(self, owner: str, taken: Mapping[str, Imports]) -> None:
        """Reverse `unfollow`."""
        for module, imports in taken.items():
            self.follow(module, owner)
            self._note(module, imports)

    def close(self) -> None:
        """Follow nothing any more."""
        for owner in list(self._members):
            self.unfollow(owner)

    def add(self, importer: str, imported: Iterable[str]) -> None:
        """Note that `importer`, if it is still followed, has imported these or tried to."""
        names = frozenset(imported) - {importer}
        self._note(importer, Imports(names, frozenset(filterfalse(self._is_there, names))))

    def add_known(self, importer: str, imported: Iterable[str]) -> None:
        """As `add`, for modules of which none was found to be missing."""
        self._note(importer, Imports(frozenset(imported) - {importer}, _NOTHING))

    def outside(self, importer: str, imported: Iterable[str]) -> list[str]:
        """Return which of `imported` are followed and have another owner than `importer` has."""
        own = self._owners.get(importer)
        return [each for each in imported if self._owners.get(each, own) != own] if own else []

    def _is_there(self, module: str) -> bool:
        return module in self._owners or module in self._spaces

    def _note(self, importer: str, imports: Imports) -> None:
        if not imports.names or importer not in self._owners:  # A thread of it has taken its time.
            return
        self._imports.setdefault(importer, set()).update(imports.names)
        if not self.is_plugins(importer):
            self.rewired += 1
        for module in imports.names:
            self._importers[module].add(importer)
        for module in imports.absent:
            self._absent_for[module].add(importer)

    def _clear(self, module: str) -> None:
        if not self.is_plugins(module):
            self.rewired += 1
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

    def owner(self, module: str) -> str:
        """Return the owner of a module that is followed."""
        return self._owners[module]

    def reached_from(self, module: str) -> set[str]:
        """Return `module` and the modules that it imports, directly or through shared ones."""
        reached: set[str] = set()
        todo = [module]
        while todo:
            name = todo.pop()
            if name in self._owners and name not in reached:
                reached.add(name)
                if not self.is_plugins(name):
                    todo += self._imports.get(name, ())
        return reached

    def reached_by(self, owner: str) -> set[str]:
        """Return the modules that those of `owner` have imported or tried to, directly or not."""
        reached: set[str] = set()
        todo = [*self._members.get(owner, ())]
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
    def late(self) -> Mapping[str, Collection[str]]:
        """The modules that are there, each with those that tried to import it when it was not."""
        late = self._absent_for.keys() & self._owners
        return {each: frozenset(self._absent_for[each]) for each in late}

    def accept(self, module: str) -> None:
        """Count `module` as late no more: what does without it has been imported again since."""
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
        """Take each import for news when it happens next: more may be followed than before."""
        for known in list(self._statements.values()):
            known.clear()

    def note_load(self, module: str) -> None:
        """Note that the code on the stack imports `module`, which is about to run."""
        found = followed_importer()
        if found is not None and found[0] is self:
            self.add_known(found[1], [module])
            self._miss_no_more(found[1], module)  # It has made `module` to be found.


followed: Final[dict[str, ImportGraph]] = {}
"""By the name of each module that is followed: the graph that follows it."""


def followed_importer(asker: str = "") -> tuple[ImportGraph, str] | None:
    """Return the innermost followed module on the stack, and the graph that follows it.

    Where there is none, `asker` if that is followed, or the module of the plugin whose context
    this is.
    """
    frame: FrameType | None = sys._getframe(1)  # noqa: SLF001 - the way to see the stack
    while frame is not None:
        name = frame.f_globals.get("__name__")
        if name in followed:
            return followed[name], name
        frame = frame.f_back
    name = asker if asker in followed else current_module.get()
    return (followed[name], name) if name in followed else None


def namespace_of(module: object) -> dict[str, Any]:
    """Return the attributes of what `sys.modules` holds, without loading a module that is lazy.

    Empty for an object in a module's place that keeps no such dict.
    """
    try:
        found = object.__getattribute__(module, "__dict__")
    except AttributeError:
        return {}
    return found if isinstance(found, dict) else {}
