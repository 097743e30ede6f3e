"""What drawing actions at random goes by: the dice, and the tree as it is by then."""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass, field

from soaking.actions import Edit
from soaking.modules import MODULES, Imports, Way
from soaking.saves import Save
from soaking.sources import Source
from soaking.workspace import Folders, Tree

FOLDERS = ("a", "b", "c", "d", "e", "f", "deep/g", "deep/er/h")


@dataclass
class Draw:
    """Draws actions that fit the tree as the ones before have left it.

    Attributes:
        dice: where chance comes from.
        tree: the model.
        past: earlier contents of every folder, for rollbacks.
        branches: whole trees, for branch switches.
        crashed: plugins that have crashed, and were not edited since.
    """

    dice: random.Random
    tree: Tree = field(default_factory=Tree)
    past: list[tuple[str, Source]] = field(default_factory=list)
    branches: list[Tree] = field(default_factory=list)
    crashed: set[str] = field(default_factory=set)
    versions: int = 0

    @property
    def folders(self) -> Folders:
        """The plugins of the model."""
        return self.tree.folders

    def style(self) -> Save:
        """How to save; mostly in place."""
        styles: list[Save] = [*Save, Save.IN_PLACE, Save.ATOMIC, Save.ATOMIC]
        return self.dice.choice(styles)

    def version(self) -> int:
        """A version that nothing else has."""
        self.versions += 1
        return self.versions

    def folder(self) -> str | None:
        """One that is there."""
        return self.dice.choice(sorted(self.folders)) if self.folders else None

    def two_folders(self) -> tuple[str, str] | None:
        """Two that are there, whose plugins have different names."""
        one, other = self.folder(), self.folder()
        if one is None or other is None or self.folders[one].ref == self.folders[other].ref:
            return None
        return one, other

    def needed(self, ref: str) -> set[str]:
        """`ref`, and everything that it needs, directly or not."""
        found: set[str] = set()
        todo = {ref}
        while todo:
            found |= todo
            wanted = {
                want
                for source in self.folders.values()
                if source.ref in todo
                for want in (*source.wants, *source.borrows)
            }
            refs = self.refs()
            todo = {each for each in refs if not wanted.isdisjoint({each, each[-1]})} - found
        return found

    def free_folder(self) -> str | None:
        """One that is not there."""
        free = [folder for folder in FOLDERS if folder not in self.folders]
        return self.dice.choice(free) if free else None

    def module(self) -> str | None:
        """A shared module that is there."""
        return self.dice.choice(sorted(self.tree.modules)) if self.tree.modules else None

    def imports(self, ways: Iterable[Way]) -> Imports:
        """Some shared modules, mostly ones that are there; most often it can do without others."""
        there, listed = self.tree.modules, list(ways)
        return tuple(
            (name, self.dice.choice(listed) if name in there or rare else Way.OPTIONAL)
            for name in MODULES
            for rare in [self.dice.random() < 0.1]
            if self.dice.random() < (0.35 if name in there else 0.1)
        )

    def refs(self) -> list[str]:
        """Every plugin that is there."""
        return sorted({source.ref for source in self.folders.values()})

    def wants(self, own: str, refs: list[str]) -> tuple[str, ...]:
        """Some of `refs`, as `depends_on` may name them."""
        chosen = [ref for ref in refs if ref != own and self.dice.random() < 0.3][:3]
        return tuple(ref if self.dice.random() < 0.5 else ref.partition("/")[2] for ref in chosen)

    def edit(self, folder: str, **fields: object) -> Edit:
        """New values of some fields, with a new version."""
        return Edit(folder, (("version", self.version()), *fields.items()))
