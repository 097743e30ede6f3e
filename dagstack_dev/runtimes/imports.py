"""Who imports whom, noted with every import that happens.

A statement asks `builtins.__import__`, also for what is loaded already and also from inside a
function; `importlib.import_module` goes another way. Both are wrapped, for as long as somebody
keeps an `ImportLog`; code that no log follows pays one look-up for each import.
"""

from __future__ import annotations

import builtins
import importlib
import sys
from collections import defaultdict
from contextlib import suppress
from importlib.util import resolve_name
from typing import TYPE_CHECKING, Any, Final

from dagstack_dev.runtimes.shared_modules import namespace_of
from dagstack_dev.runtimes.static_imports import with_parents

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
    from types import FrameType, FunctionType, ModuleType

_logs: Final[dict[str, ImportLog]] = {}
"""By the name of each module that is followed: the log that follows it."""


class ImportLog:
    """The imports made by modules that are followed, by module name.

    A module has an owner: what it is taken out and put back together with, such as a plugin's
    package. An import counts for the module that is imported and for every package around it,
    for those run first. What could not be imported is noted too: it may be there one day.

    Attributes:
        stale: modules that are out of date, and nobody's who is followed.
        renew: called with one of them when somebody who is followed is about to import it.
        given_up: modules that were missing and that nobody who is followed waits for any more.
            Code that was rolled back for that may.
        adopt: called with a module that is imported and not followed; it may `follow` it.
    """

    def __init__(self) -> None:
        self.stale: set[str] = set()
        self.renew: Callable[[str], None] = self.stale.discard
        self.adopt: Callable[[str], object] = lambda _: None
        self.given_up: set[str] = set()
        self._owners: dict[str, str] = {}
        self._members: defaultdict[str, set[str]] = defaultdict(set)
        self._imports: dict[str, set[str]] = {}
        self._statements: dict[str, set[tuple[str, Sequence[str], int]]] = {}
        self._importers: defaultdict[str, set[str]] = defaultdict(set)
        self._missing: set[str] = set()
        self._spaces: set[str] = set()

    def add_space(self, module: str) -> None:
        """`module` is a package without code of its own, where packages with code are.

        It counts for whoever imports just it: anything in it may be what is meant.
        """
        self._spaces.add(module)

    def follow(self, module: str, owner: str) -> None:
        """From now on note what `module`, which is about to run, imports; forget what it did."""
        if not _logs:
            _install()
        self._clear(module)
        self._owners[module] = owner
        self._members[owner].add(module)
        self._imports[module] = set()
        self._statements[module] = set()
        self._missing.discard(module)
        _logs[module] = self

    def take_out(self, owner: str) -> dict[str, set[str]]:
        """Follow the modules of `owner` no longer; the answer is what each has imported."""
        members = self._members.pop(owner, set())
        taken = {}
        for module in members:
            taken[module] = self._imports[module]
            self._clear(module)
            del self._owners[module]
            if _logs.get(module) is self:
                del _logs[module]
        return taken

    def put_back(self, owner: str, taken: Mapping[str, Iterable[str]]) -> None:
        """The reverse of `take_out`."""
        for module, imported in taken.items():
            self.follow(module, owner)
            self.add(module, imported)

    def close(self) -> None:
        """Follow nothing any more."""
        for owner in list(self._members):
            self.take_out(owner)
        if not _logs:
            _uninstall()

    def add(self, importer: str, imported: Iterable[str]) -> None:
        """`importer` has imported these modules or tried to; it counts if it is followed still."""
        noted = self._imports.get(importer)
        if noted is None:  # A thread of it has taken its time.
            return
        for module in imported:
            if module != importer:
                noted.add(module)
                self._importers[module].add(importer)
                if module not in self._owners and module not in self._spaces:
                    self._missing.add(module)

    def _clear(self, module: str) -> None:
        self._statements.pop(module, None)
        for imported in self._imports.pop(module, ()):
            importers = self._importers[imported]
            importers.discard(module)
            if not importers:
                del self._importers[imported]
                if imported in self._missing:
                    self._missing.discard(imported)
                    self.given_up.add(imported)

    def follows(self, module: str) -> bool:
        """Whether the imports of `module` are noted."""
        return module in self._owners

    def followed(self) -> Collection[str]:
        """The modules whose imports are noted."""
        return list(self._owners)

    def owner(self, module: str) -> str:
        """The owner of a module that is followed."""
        return self._owners[module]

    def importers(self, module: str) -> Sequence[str]:
        """The modules that have imported `module`, or tried to, sorted."""
        return sorted(self._importers.get(module, ()))

    @property
    def missing(self) -> frozenset[str]:
        """The modules that somebody has tried to import in vain."""
        return frozenset(self._missing)

    def misses(self, module: str) -> bool:
        """Whether somebody has tried to import `module` in vain."""
        return module in self._missing

    def is_news(self, importer: str, statement: tuple[str, Sequence[str], int]) -> bool:
        """Whether `importer` has not succeeded yet with this name, list of names and level."""
        known = self._statements.get(importer)
        if known is None or statement in known:
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
            self.add(found[1], [module])

    def before(self, name: str, names: Iterable[str]) -> None:
        """Somebody is about to import the module `name`, and from it `names`."""
        if not self.stale:
            return
        wanted = {*with_parents(name), *(f"{name}.{each}" for each in names)}
        for module in sorted(wanted & self.stale):
            self.stale.discard(module)
            self.renew(module)

    def note_failure(self, importer: str, name: str, names: Collection[str]) -> None:
        """`importer` could not import the module `name`, or from it one of `names`."""
        self.note(importer, name, names)  # A package may have been found, though not all in it.
        attempted = {*with_parents(name), *(f"{name}.{each}" for each in names if each != "*")}
        self.add(importer, filter(_has_been_looked_for, attempted - sys.modules.keys()))


def _has_been_looked_for(module: str) -> bool:
    """Whether an attempt to import `module` can have come to it: what it is in must be there."""
    package = module.rpartition(".")[0]
    return not package or package in sys.modules


def followed_importer() -> tuple[ImportLog, str] | None:
    """The innermost module on the caller's stack that some log follows, with that log."""
    frame: FrameType | None = sys._getframe(1)  # noqa: SLF001 - the way to see the stack
    while frame is not None:
        name = frame.f_globals.get("__name__")
        if name in _logs:
            return _logs[name], name
        frame = frame.f_back
    return None


def _noting_import(ask: Callable[..., ModuleType]) -> FunctionType:
    def __import__(  # noqa: A001, N807 - tracebacks show it under the name it stands for
        name: str,
        globals: Mapping[str, Any] | None = None,  # noqa: A002 - the names of the original
        locals: Mapping[str, Any] | None = None,  # noqa: A002 - likewise
        fromlist: Sequence[str] | None = (),
        level: int = 0,
    ) -> ModuleType:
        if globals is None:
            globals = sys._getframe(1).f_globals  # noqa: A001, SLF001 - a plain call of __import__
        importer = globals.get("__name__", "")
        log = _logs.get(importer)
        if log is None:
            return ask(name, globals, locals, fromlist, level)
        if log.stale:
            log.before(_absolute(name, globals, level), fromlist or ())
        try:
            module = ask(name, globals, locals, fromlist, level)
        except BaseException:
            log.note_failure(importer, _absolute(name, globals, level), fromlist or ())
            raise
        if log.is_news(importer, (name, tuple(fromlist or ()), level)):
            log.note(importer, _absolute(name, globals, level), fromlist or ())
        return module

    return __import__  # type: ignore[return-value]  # it is one


def _absolute(name: str, around: Mapping[str, Any], level: int) -> str:
    if not level:
        return name
    package = around.get("__package__")
    if package is None:
        package = around["__name__"].rpartition(".")[0]
    return ".".join([*package.split(".")[: 1 - level or None], *([name] if name else [])])


def _noting_import_module(ask: Callable[..., ModuleType]) -> FunctionType:
    def import_module(name: str, package: str | None = None) -> ModuleType:
        found = followed_importer()
        meant = ""
        with suppress(ImportError, AttributeError):  # No module can be meant, and `ask` says so.
            meant = resolve_name(name, package)
        if found is None or not meant:
            return ask(name, package)
        log, importer = found
        log.before(meant, ())
        try:
            module = ask(name, package)
        except BaseException:
            log.note_failure(importer, meant, ())
            raise
        log.note(importer, meant, ())
        return module

    return import_module  # type: ignore[return-value]  # it is one


_INTERNAL: Final = "<importlib._bootstrap, noted by dagstack_dev>"
"""By such a file name `warnings` knows what to look behind for the line that imports."""

_replaced: Final[list[tuple[object, str, Any, Any]]] = []


def _install() -> None:
    if _replaced:
        return
    for where, name, wrap in (
        (builtins, "__import__", _noting_import),
        (importlib, "import_module", _noting_import_module),
    ):
        original = getattr(where, name)
        wrapped = wrap(original)
        wrapped.__code__ = wrapped.__code__.replace(co_filename=_INTERNAL)
        setattr(where, name, wrapped)
        _replaced.append((where, name, original, wrapped))


def _uninstall() -> None:
    """Put the originals back, unless somebody else has wrapped ours meanwhile."""
    for each in list(_replaced):
        where, name, original, wrapped = each
        if getattr(where, name) is wrapped:
            setattr(where, name, original)
            _replaced.remove(each)
