"""What developers do to a plugin tree. One class is one kind of action.

An action has to make do with any tree, so that a sequence can be replayed with others left out.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TypeVar

from soaking.host import Host
from soaking.modules import Module
from soaking.saves import Save
from soaking.sources import Section, Source
from soaking.workspace import Disk, Tree

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Action:
    """Something that a developer does.

    Attributes:
        style: how files are saved.
    """

    style: Save = Save.IN_PLACE

    def change(self, tree: Tree) -> None:
        """Change the model; the disk follows."""

    def on_disk(self, disk: Disk) -> None:
        """Do what no model knows of, before the disk follows."""

    def to_running(self, host: Host) -> None:
        """Do something to what runs."""

    def fatal_for(self) -> set[str]:
        """Plugins that may be down from now on, although nothing was removed."""
        return set()


@dataclass(frozen=True)
class Put(Action):
    """Give folders, shared modules and sections a new content; None removes them."""

    sources: tuple[tuple[str, Source | None], ...] = ()
    modules: tuple[tuple[str, Module | None], ...] = ()
    sections: tuple[tuple[str, Section | None], ...] = ()

    def change(self, tree: Tree) -> None:
        _put(tree.folders, self.sources)
        _put(tree.modules, self.modules)
        _put(tree.sections, self.sections)


def _put(there: dict[str, T], new: tuple[tuple[str, T | None], ...]) -> None:
    for name, value in new:
        if value is None:
            there.pop(name, None)
        else:
            there[name] = value


@dataclass(frozen=True)
class Edit(Action):
    """Change some fields of one source."""

    folder: str
    fields: tuple[tuple[str, object], ...]

    def change(self, tree: Tree) -> None:
        if self.folder in tree.folders:
            fields: dict[str, object] = dict(self.fields)
            source = tree.folders[self.folder]
            tree.folders[self.folder] = replace(source, **fields)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Move(Action):
    """Rename a folder on disk."""

    folder: str
    target: str

    def change(self, tree: Tree) -> None:
        if self.folder in tree.folders and self.target not in tree.folders:
            tree.folders[self.target] = tree.folders.pop(self.folder)

    def on_disk(self, disk: Disk) -> None:
        if (disk.root / self.folder).exists() and not (disk.root / self.target).exists():
            disk.move(self.folder, self.target)


@dataclass(frozen=True)
class Exchange(Action):
    """Rename two folders on disk, each to the path of the other."""

    one: str
    other: str

    def change(self, tree: Tree) -> None:
        if self.one in tree.folders and self.other in tree.folders:
            held = tree.folders[self.one]
            tree.folders |= {self.one: tree.folders[self.other], self.other: held}

    def on_disk(self, disk: Disk) -> None:
        if (disk.root / self.one).exists() and (disk.root / self.other).exists():
            disk.exchange(self.one, self.other)


@dataclass(frozen=True)
class Touch(Action):
    """Make a file look changed."""

    path: str

    def on_disk(self, disk: Disk) -> None:
        if (disk.root / self.path).exists():
            (disk.root / self.path).touch()


@dataclass(frozen=True)
class Litter(Action):
    """Leave a file that does not count."""

    path: str

    def on_disk(self, disk: Disk) -> None:
        target = disk.root / self.path
        if target.parent.exists():
            target.write_text("nothing to see here")


@dataclass(frozen=True)
class Crash(Action):
    """Have a task of a plugin fail."""

    ref: str

    def to_running(self, host: Host) -> None:
        host.crash(self.ref)

    def fatal_for(self) -> set[str]:
        return {self.ref}


@dataclass(frozen=True)
class Flake(Action):
    """Have the setup of a plugin fail once, the next time that it comes back in a roll-back."""

    ref: str

    def to_running(self, host: Host) -> None:
        host.flaky.add(self.ref)


@dataclass(frozen=True)
class Outage(Edit):
    """Edit a source while the service that some need is out of order, to the next quiet point."""

    def to_running(self, host: Host) -> None:
        host.is_out_of_order = True
