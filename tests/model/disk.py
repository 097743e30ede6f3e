"""What lies on disk, and what people do to it."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TypeVar

from dagstack_dev.core.refs import PluginRef

T = TypeVar("T")


@dataclass(frozen=True)
class Text:
    """What one plugin folder holds.

    Attributes:
        ref: which plugin it is; None where its manifest cannot be read.
        version: differs with its contents; what it says is up to the oracle.
        wants: its `depends_on`, bare names among it.
        imports: shared modules; one with a `?` is imported only if it is there.
        borrows: plugins whose code it imports.
        broken: whether its code does not compile.
    """

    ref: PluginRef | None
    version: int
    wants: tuple[str | PluginRef, ...] = ()
    imports: tuple[str, ...] = ()
    borrows: tuple[PluginRef, ...] = ()
    broken: bool = False


@dataclass(frozen=True)
class Module:
    """One file of shared code."""

    version: int
    imports: tuple[str, ...] = ()
    broken: bool = False


Thing = tuple[str, str]
"""`("folder", name)`, `("module", name)` or `("section", "kind/name")`."""
Content = Text | Module | int


@dataclass(frozen=True)
class Snapshot:
    """The disk at one moment.

    Attributes:
        since: the batch in which each content was first there, that of nothing included.
    """

    things: Mapping[Thing, Content] = field(default_factory=dict)
    since: Mapping[Thing, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        by_sort: dict[str, dict[str, Content]] = {"folder": {}, "module": {}, "section": {}}
        for (sort, name), content in self.things.items():
            by_sort[sort][name] = content
        object.__setattr__(self, "folders", by_sort["folder"])
        object.__setattr__(self, "modules", by_sort["module"])
        object.__setattr__(self, "sections", by_sort["section"])

    folders: Mapping[str, Text] = field(init=False, compare=False)
    modules: Mapping[str, Module] = field(init=False, compare=False)
    sections: Mapping[str, int] = field(init=False, compare=False)

    def section(self, ref: PluginRef) -> int:
        """The plugin's section of the configuration; 0 where there is none."""
        return self.sections.get(str(ref), 0)

    def claims(self) -> dict[PluginRef, list[str]]:
        """The folders that claim each name, sorted."""
        found: dict[PluginRef, list[str]] = {}
        for folder in sorted(self.folders):
            ref = self.folders[folder].ref
            if ref is not None:
                found.setdefault(ref, []).append(folder)
        return found

    def edited(self, things: Mapping[Thing, Content], batch: int) -> Snapshot:
        """The same disk with other contents."""
        differing = {
            thing
            for thing in things.keys() | self.things.keys()
            if things.get(thing) != self.things.get(thing)
        }
        return Snapshot(dict(things), {**self.since, **dict.fromkeys(differing, batch)})

    def news(self, before: Snapshot) -> set[Thing]:
        """What differs from `before`."""
        return {
            thing
            for thing in self.things.keys() | before.things.keys()
            if self.things.get(thing) != before.things.get(thing)
        }


class Author:
    """Edits at random; the same ones for the same dice.

    Args:
        dice: where the choices come from.
        folders: how many folders there may be.
        modules: how many shared modules.
    """

    def __init__(
        self, dice: random.Random, folders: int, modules: int, borrowing: float = 0.0
    ) -> None:
        self.dice = dice
        self.folders = list("abcdefgh"[:folders])
        self.modules = list("stuv"[:modules])
        # Two of one name, so that a bare name may be ambiguous.
        self.refs = [PluginRef("tool", name) for name in self.folders]
        self.refs[-1] = PluginRef("store", self.folders[0])
        self.home = dict(zip(self.folders, self.refs, strict=True))
        self.borrowing = borrowing
        self.drawer: list[tuple[Thing, Content]] = []

    def edit(self, things: dict[Thing, Content]) -> None:
        """Do one thing that people do."""
        acts: Mapping[Callable[[dict[Thing, Content]], None], int] = {
            self.save: 40,
            self.toggle_code: 10,
            self.spoil_manifest: 5,
            self.remove: 9,
            self.rename: 6,
            self.exchange: 7,
            self.undo: 8,
            self.save_module: 12 if self.modules else 0,
            self.remove_module: 3 if self.modules else 0,
            self.configure: 7,
        }
        [act] = self.dice.choices(list(acts), list(acts.values()))
        act(things)

    def save(self, things: dict[Thing, Content]) -> None:
        """Save a plugin: mostly another version, at times another plugin altogether."""
        folder = self.dice.choice(self.folders)
        old = things.get(("folder", folder))
        version = self.dice.randint(1, 9)
        if isinstance(old, Text) and old.ref is not None and self.dice.random() < 0.5:
            self._put(things, ("folder", folder), replace(old, version=version))
            return
        ref = self.dice.choice(self.refs) if self.dice.random() < 0.12 else self.home[folder]
        text = Text(
            ref,
            version,
            wants=tuple(
                other.name if self.dice.random() < 0.5 else other
                for other in self._some(self.refs, 0.22)
                if other != ref
            ),
            imports=tuple(
                name + "?" * (self.dice.random() < 0.2) for name in self._some(self.modules, 0.3)
            ),
            borrows=tuple(other for other in self._some(self.refs, self.borrowing) if other < ref),
            broken=self.dice.random() < 0.1,
        )
        self._put(things, ("folder", folder), text)

    def toggle_code(self, things: dict[Thing, Content]) -> None:
        """Break code that was right, or mend what was broken."""
        for folder, text in self._one(things):
            self._put(things, ("folder", folder), replace(text, broken=not text.broken))

    def spoil_manifest(self, things: dict[Thing, Content]) -> None:
        """Leave a manifest that cannot be read."""
        for folder, text in self._one(things):
            self._put(things, ("folder", folder), replace(text, ref=None))

    def remove(self, things: dict[Thing, Content]) -> None:
        """Remove a folder."""
        things.pop(("folder", self.dice.choice(self.folders)), None)

    def rename(self, things: dict[Thing, Content]) -> None:
        """Rename a folder, unless there is one of that name."""
        for folder, text in self._one(things):
            target = ("folder", self.dice.choice(self.folders))
            if target not in things:
                del things["folder", folder]
                things[target] = text

    def exchange(self, things: dict[Thing, Content]) -> None:
        """Exchange the names of two plugins."""
        for one, text in self._one(things):
            for other, its in self._one(things):
                things["folder", one] = replace(text, ref=its.ref)
                things["folder", other] = replace(its, ref=text.ref)

    def undo(self, things: dict[Thing, Content]) -> None:
        """Put back what some file once was."""
        if self.drawer:
            thing, content = self.dice.choice(self.drawer[-8:])
            things[thing] = content

    def save_module(self, things: dict[Thing, Content]) -> None:
        """Save shared code, which may import other shared code."""
        name = self.dice.choice(self.modules)
        others = self.modules[self.modules.index(name) + 1 :]
        module = Module(
            self.dice.randint(1, 5),
            tuple(other + "?" * (self.dice.random() < 0.2) for other in self._some(others, 0.3)),
            self.dice.random() < 0.15,
        )
        self._put(things, ("module", name), module)

    def remove_module(self, things: dict[Thing, Content]) -> None:
        """Remove shared code."""
        things.pop(("module", self.dice.choice(self.modules)), None)

    def configure(self, things: dict[Thing, Content]) -> None:
        """Change a section of the configuration, or remove it."""
        thing = ("section", str(self.dice.choice(self.refs)))
        if self.dice.random() < 0.25:
            things.pop(thing, None)
        else:
            self._put(things, thing, self.dice.randint(1, 6))

    def _put(self, things: dict[Thing, Content], thing: Thing, content: Content) -> None:
        if thing in things:
            self.drawer.append((thing, things[thing]))
        things[thing] = content

    def _one(self, things: Mapping[Thing, Content]) -> Iterable[tuple[str, Text]]:
        folder = self.dice.choice(self.folders)
        text = things.get(("folder", folder))
        if isinstance(text, Text):
            yield folder, text

    def _some(self, pool: Iterable[T], chance: float) -> list[T]:
        return [each for each in pool if self.dice.random() < chance]
