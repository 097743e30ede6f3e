"""A plugin tree as a developer left it: the model, and the disk that follows it."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

from soaking.saves import Save, save
from soaking.sources import Source, render

Folders = dict[str, Source]
"""What every folder holds, by its path relative to the root."""


class Disk:
    """Brings a folder on disk to what a model says, in the way of one editor or another.

    Args:
        root: the folder with the plugin folders.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        root.mkdir(parents=True, exist_ok=True)
        self._written: dict[str, dict[str, str]] = {}
        self._unfinished: list[Callable[[], None]] = []

    def finish(self) -> None:
        """Complete every save that stopped half-way."""
        for complete in self._unfinished:
            complete()
        self._unfinished.clear()

    def bring(self, folders: Mapping[str, Source], style: Save) -> None:
        """Save what differs from `folders`, nothing else."""
        for folder in self._written.keys() - folders.keys():
            shutil.rmtree(self.root / folder)
            del self._written[folder]
        for folder, source in folders.items():
            self._bring_one(folder, render(source), style)

    def _bring_one(self, folder: str, files: dict[str, str], style: Save) -> None:
        written = self._written.get(folder, {})
        for name in written.keys() - files.keys():
            (self.root / folder / name).unlink()
        for name, text in files.items():
            if written.get(name) != text:
                rest = save(self.root / folder / name, text, style)
                if rest is not None:
                    self._unfinished.append(rest)
        self._written[folder] = files

    def move(self, folder: str, target: str) -> None:
        """Rename a folder."""
        (self.root / target).parent.mkdir(parents=True, exist_ok=True)
        (self.root / folder).rename(self.root / target)
        self._written[target] = self._written.pop(folder)
