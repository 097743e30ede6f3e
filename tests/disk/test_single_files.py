"""Single files in a snapshot: named ones, and shared code beside what runs of it."""

from __future__ import annotations

from pathlib import Path

import pytest
from trees import PluginTree

from dagstack_dev.core.sources import SourceFile
from dagstack_dev.disk.ignore import IgnoreRules
from dagstack_dev.disk.snapshot import Snapshot


class Running:
    """Shared code that runs, by path; None for what is awaited."""

    def __init__(self) -> None:
        self.files: dict[str, bytes | None] = {}

    def run(self, path: Path, text: str) -> None:
        self.files[str(path)] = SourceFile.of(text.encode()).fingerprint

    def known(self) -> set[str]:
        return {*self.files}

    def is_meant(self, path: str) -> bool:
        return path in self.files

    def fingerprint(self, path: str) -> bytes | None:
        return self.files.get(path)


@pytest.fixture
def running() -> Running:
    return Running()


@pytest.fixture
def disk(tree: PluginTree, running: Running) -> Snapshot:
    named = [str(tree.root.parent / "app.toml")]
    return Snapshot([str(tree.root)], IgnoreRules(), files=named, code=running)


def news(disk: Snapshot, *hints: Path) -> set[str]:
    """Look, hand the news on, and return the names of the files."""
    found = {Path(path).name for path in disk.look(map(str, hints)).files}
    disk.news.files.clear()
    return found


def test_a_named_file_is_news_when_its_content_differs(tree: PluginTree, disk: Snapshot) -> None:
    config = tree.root.parent / "app.toml"
    config.write_text("a = 1\n", encoding="utf-8")
    assert news(disk, config) == {"app.toml"}
    config.touch()
    assert news(disk, config) == set()
    config.write_text("a = 2\n", encoding="utf-8")
    assert news(disk, config) == {"app.toml"}
    file = disk.file(str(config))
    assert file is not None
    assert file.content == b"a = 2\n"


@pytest.mark.parametrize("spoil", [lambda path: path.write_text(" \n"), Path.unlink])
def test_a_file_that_is_emptied_or_gone_is_unfinished(
    tree: PluginTree, disk: Snapshot, spoil: object
) -> None:
    config = tree.root.parent / "app.toml"
    config.write_text("a = 1\n", encoding="utf-8")
    news(disk, config)
    assert callable(spoil)
    spoil(config)
    disk.look([str(config)])
    assert disk.unfinished() == {str(config)}
    config.write_text("a = 1\n", encoding="utf-8")
    disk.look(disk.unfinished())
    assert not disk.news.files
    assert not disk.unfinished()


def test_code_that_was_never_looked_at_is_news_where_something_else_runs(
    tree: PluginTree, disk: Snapshot, running: Running
) -> None:
    for name, runs in (("same.py", "X = 1\n"), ("other.py", "X = 0\n")):
        running.run(tree.write(name, "X = 1\n"), runs)
    awaited = tree.root / "awaited.py"
    running.files[str(awaited)] = None
    assert news(disk) == {"other.py"}
    assert disk.files.differing(None).keys() == {str(tree.root / "other.py")}
    awaited.write_text("X = 1\n", encoding="utf-8")
    assert news(disk, awaited) == {"awaited.py"}


def test_code_that_nothing_imports_is_no_news(tree: PluginTree, disk: Snapshot) -> None:
    path = tree.write("alone.py", "X = 1\n")
    assert news(disk, path) == set()


def test_code_in_a_root_that_is_away_stays_what_it_was(
    tree: PluginTree, disk: Snapshot, running: Running
) -> None:
    path = tree.write("helpers/words.py", "X = 1\n")
    running.run(path, "X = 1\n")
    assert news(disk) == set()
    aside = tree.root.rename(tree.root.with_name("aside"))
    assert news(disk, path, tree.root) == set()
    assert disk.files.differing(None) == {}
    aside.rename(tree.root)
    path.unlink()
    assert news(disk, tree.root) == {"words.py"}
    assert disk.files.differing(None) == {str(path): None}
