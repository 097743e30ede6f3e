"""A plugin tree as a developer left it: the model, and the disk that follows it."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from soaking.modules import Modules, render_modules
from soaking.saves import Save, save
from soaking.sources import Section, Source
from soaking.texts import render, render_config

Folders = dict[str, Source]
"""What every folder holds, by its path relative to the root."""

CONFIG = "config.toml"


@dataclass
class Tree:
    """Everything that a server looks at.

    Attributes:
        folders: the plugins.
        modules: the shared code beside them.
        sections: the configuration by plugin; what is above all tables by the empty name.
    """

    folders: Folders = field(default_factory=dict)
    modules: Modules = field(default_factory=dict)
    sections: dict[str, Section] = field(default_factory=dict)

    def copy(self) -> Tree:
        """What this tree is now."""
        return Tree(dict(self.folders), dict(self.modules), dict(self.sections))


class Disk:
    """Brings a folder on disk to what a model says, in the way of one editor or another.

    Args:
        root: the folder with the plugin folders; the configuration lies beside it.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        root.mkdir(parents=True, exist_ok=True)
        self.config = root.with_name(CONFIG)
        self.config.write_text("")
        self._folders: dict[str, dict[str, str]] = {}
        self._modules: dict[str, str] = {}
        self._config: dict[str, str] = {CONFIG: ""}
        self._unfinished: list[Callable[[], None]] = []

    def finish(self) -> None:
        """Complete every save that stopped half-way."""
        for complete in self._unfinished:
            complete()
        self._unfinished.clear()

    def bring(self, tree: Tree, style: Save) -> None:
        """Save what differs from `tree`, nothing else."""
        for folder in self._folders.keys() - tree.folders.keys():
            shutil.rmtree(self.root / folder)
            del self._folders[folder]
        modules = render_modules(tree.modules)
        self._bring_files(self.root, self._modules, modules, style)
        self._modules = modules
        for folder, source in tree.folders.items():
            files = render(source)
            self._bring_files(self.root / folder, self._folders.get(folder, {}), files, style)
            self._folders[folder] = files
        config = {CONFIG: render_config(tree.sections)}
        self._bring_files(self.root.parent, self._config, config, style)
        self._config = config

    def _bring_files(
        self, folder: Path, written: Mapping[str, str], files: Mapping[str, str], style: Save
    ) -> None:
        for name in written.keys() - files.keys():
            (folder / name).unlink()
        for name, text in files.items():
            if written.get(name) != text:
                rest = save(folder / name, text, style)
                if rest is not None:
                    self._unfinished.append(rest)

    def move(self, folder: str, target: str) -> None:
        """Rename a folder."""
        (self.root / target).parent.mkdir(parents=True, exist_ok=True)
        (self.root / folder).rename(self.root / target)
        self._folders[target] = self._folders.pop(folder)

    def exchange(self, one: str, other: str) -> None:
        """Rename two folders, each to the path of the other."""
        aside = self.root.with_name("aside")
        (self.root / one).rename(aside)
        (self.root / other).rename(self.root / one)
        aside.rename(self.root / other)
        self._folders |= {one: self._folders[other], other: self._folders[one]}
