"""What developers do to a plugin tree. One class is one kind of action.

An action has to make do with any tree, so that a sequence can be replayed with others left out.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from soaking.saves import Save
from soaking.sources import Source, told
from soaking.workspace import Disk, Folders


@dataclass(frozen=True, kw_only=True)
class Action:
    """Something that a developer does.

    Attributes:
        style: how files are saved.
    """

    style: Save = Save.IN_PLACE

    def change(self, folders: Folders) -> None:
        """Change the model; the disk follows."""

    def on_disk(self, disk: Disk) -> None:
        """Do what no model knows of, before the disk follows."""

    def _saved(self) -> str:
        return f", saved: {self.style}"


@dataclass(frozen=True)
class Put(Action):
    """Give folders a new content, or remove those whose content is None."""

    sources: tuple[tuple[str, Source | None], ...]

    def change(self, folders: Folders) -> None:
        for folder, source in self.sources:
            if source is None:
                folders.pop(folder, None)
            else:
                folders[folder] = source

    def __str__(self) -> str:
        lines = (f"\n        {folder}: {source or 'nothing'}" for folder, source in self.sources)
        return f"let there be{self._saved()}{''.join(lines)}"


@dataclass(frozen=True)
class Edit(Action):
    """Change some fields of one source."""

    folder: str
    fields: tuple[tuple[str, object], ...]

    def change(self, folders: Folders) -> None:
        if self.folder in folders:
            fields: dict[str, object] = dict(self.fields)
            folders[self.folder] = replace(folders[self.folder], **fields)  # type: ignore[arg-type]

    def __str__(self) -> str:
        listed = ", ".join(f"{name}={told(value)}" for name, value in self.fields)
        return f"edit {self.folder}: {listed}{self._saved()}"


@dataclass(frozen=True)
class Move(Action):
    """Rename a folder on disk."""

    folder: str
    target: str

    def change(self, folders: Folders) -> None:
        if self.folder in folders and self.target not in folders:
            folders[self.target] = folders.pop(self.folder)

    def on_disk(self, disk: Disk) -> None:
        if (disk.root / self.folder).exists() and not (disk.root / self.target).exists():
            disk.move(self.folder, self.target)


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
