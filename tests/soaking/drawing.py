"""What drawing actions at random goes by: the dice, and the tree as it is by then."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from soaking.actions import Edit
from soaking.saves import Save
from soaking.sources import Source
from soaking.workspace import Folders

FOLDERS = ("a", "b", "c", "d", "e", "f", "deep/g", "deep/er/h")


@dataclass
class Draw:
    """Draws actions that fit the tree as the ones before have left it.

    Attributes:
        dice: where chance comes from.
        folders: the model.
        past: earlier contents of every folder, for rollbacks.
        branches: whole trees, for branch switches.
    """

    dice: random.Random
    folders: Folders = field(default_factory=dict)
    past: list[tuple[str, Source]] = field(default_factory=list)
    branches: list[Folders] = field(default_factory=list)
    data_saves: dict[str, int] = field(default_factory=dict)
    versions: int = 0

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

    def free_folder(self) -> str | None:
        """One that is not there."""
        free = [folder for folder in FOLDERS if folder not in self.folders]
        return self.dice.choice(free) if free else None

    def refs(self) -> list[str]:
        """Every plugin that is there."""
        return sorted({source.ref for source in self.folders.values()})

    def wants(self, own: str, refs: list[str]) -> tuple[str, ...]:
        """Some of `refs`, as `depends_on` may name them."""
        chosen = [ref for ref in refs if ref != own and self.dice.random() < 0.3][:3]
        return tuple(ref if self.dice.random() < 0.5 else ref.partition("/")[2] for ref in chosen)

    def edit(self, folder: str, **fields: object) -> Edit:
        """New values of some fields, with a new version."""
        self.data_saves.pop(folder, None)
        return Edit(folder, (("version", self.version()), *fields.items()))
