"""A look where the hints point finds what a look everywhere finds."""

from __future__ import annotations

import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from dagstack_dev.disk.ignore import IgnoreRules
from dagstack_dev.disk.snapshot import Snapshot

FOLDERS = ["a", "b", "a/x", "a/x/y", "b/x", "old.bak", "build", "link"]
FILES = ["dagstack.toml", "plugin.py", "data.json", "run.log", "pyproject.toml"]


@dataclass(frozen=True)
class Operation:
    """Something done to one path; `target` is the other folder of a move or a link."""

    name: str
    folder: str
    file: str
    text: str
    target: str


OPERATIONS = st.builds(
    Operation,
    name=st.sampled_from(["write", "write", "write", "delete", "remove", "move", "link"]),
    folder=st.sampled_from(FOLDERS),
    file=st.sampled_from(FILES),
    text=st.sampled_from(["one", "two", "", "[tool.dagstack.plugin]"]),
    target=st.sampled_from(FOLDERS),
)


def carry_out(root: Path, operation: Operation) -> set[str]:
    """Do it, and return the paths that a watcher reports at least, real ones included."""
    folder, target = root / operation.folder, root / operation.target
    path = folder / operation.file
    try:
        if operation.name == "write":
            new = [each for each in (folder, *folder.parents) if not os.path.lexists(each)]
            folder.mkdir(parents=True, exist_ok=True)
            path.write_text(operation.text, encoding="utf-8")
            return {str(path), f"{os.path.realpath(folder)}/{path.name}", *map(str, new)}
        if operation.name == "delete":
            path.unlink()
            return {str(path), f"{os.path.realpath(folder)}/{path.name}"}
        if operation.name == "remove":
            if folder.is_symlink():
                folder.unlink()
            else:
                shutil.rmtree(folder)
            return {str(folder), f"{os.path.realpath(folder.parent)}/{folder.name}"}
        if operation.name == "move":
            folder.rename(target)
            return {
                *map(str, (folder, target)),
                *(f"{os.path.realpath(each.parent)}/{each.name}" for each in (folder, target)),
            }
        folder.symlink_to(os.path.relpath(target, folder.parent))
    except OSError:  # It cannot be done as things are: nothing happened.
        return set()
    return {str(folder), f"{os.path.realpath(folder.parent)}/{folder.name}"}


def picture(disk: Snapshot) -> dict[str, dict[str, bytes]]:
    return {
        folder: {path: file.fingerprint for path, file in source.files.items()}
        for folder, source in disk.folders.sources.items()
    }


@given(st.lists(OPERATIONS, max_size=8), st.lists(OPERATIONS, max_size=5))
def test_after_any_file_operations_a_hinted_look_equals_a_full_one(
    first: list[Operation], then: list[Operation]
) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(os.path.realpath(scratch)) / "plugins"
        root.mkdir()
        for operation in first:
            carry_out(root, operation)
        hinted, full, fresh = (Snapshot([str(root)], IgnoreRules()) for _ in range(3))
        for disk in (hinted, full):
            disk.look().folders.clear()
        touched: set[str] = set()
        for operation in then:
            touched |= carry_out(root, operation)
        assert hinted.look(touched) == full.look()
        fresh.look()
        assert picture(hinted) == picture(full) == picture(fresh)
        hinted.news.folders.clear()
        assert not hinted.look().folders


@given(st.lists(OPERATIONS, max_size=8), st.lists(OPERATIONS, max_size=8))
def test_news_of_many_looks_are_what_differs_in_the_end(
    first: list[Operation], then: list[Operation]
) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(os.path.realpath(scratch)) / "plugins"
        root.mkdir()
        for operation in first:
            carry_out(root, operation)
        disk = Snapshot([str(root)], IgnoreRules())
        disk.look().folders.clear()
        before = dict(disk.folders.sources)
        for operation in then:
            disk.look(carry_out(root, operation))
        folders = before.keys() | disk.folders.sources.keys()
        assert disk.news.folders == {
            folder: before.get(folder)
            for folder in folders
            if before.get(folder) != disk.source(folder)
        }
