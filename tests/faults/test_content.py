"""Files whose content cannot be meant: what runs goes on, and the mended file is taken."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from command_runs import Watching
from trees import PluginTree

Watch = Callable[..., Watching]

NESTED = "[" * 2000 + "]" * 2000
MIB = 1024 * 1024


class Edited:
    """A process that watches `a` and `b`, which depends on it, while `a` is edited."""

    def __init__(self, folder: Path) -> None:
        self._tree = PluginTree(folder / "plugins")
        self._tree.plugin("a")
        self._tree.plugin("b", depends_on=["a"])
        self.generation = 1
        self.run = Watching("plugins", cwd=folder)
        self.run.event("watch.started")

    def refusal(self, name: str, content: bytes) -> dict[str, Any]:
        """Write that into a file of `a`, and then what is taken; return the error in between."""
        path = self._tree.root / "a" / name
        with replacing(path) as new:
            new.write_bytes(content)
        kept = {"plugin": "demo/a", "keeps_generation": self.generation}
        error: dict[str, Any] = self.run.event("plugin.rejected", **kept)["error"]
        assert error["path"] == str(path)
        self.generation += 1
        self._tree.plugin("a", value=self.generation)
        self.run.event("reload.committed", changed=["demo/a"])
        return error


@pytest.fixture(scope="module")
def edited(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Edited]:
    edited = Edited(tmp_path_factory.mktemp("edited"))
    try:
        yield edited
        assert edited.run.end() == 0
    finally:
        edited.run.kill()


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """What is written to take the place of a file, at once: a part of it is refused, too."""
    new = path.parents[2] / "new"
    yield new
    new.replace(path)


def sparse(path: Path, size: int) -> None:
    """A file of `size` NUL bytes that takes no room on disk."""
    with replacing(path) as new, new.open("wb") as file:
        file.truncate(size)


MANIFESTS = {
    "binary": (bytes(range(256)), "is not UTF-8 text"),
    "NUL bytes": (b"\0" * 100, "is not valid TOML"),
    "nested arrays": (b"x = " + NESTED.encode(), "nested too deeply"),
    "nested tables": (b"[" + b".".join([b"a"] * 5000) + b"]", "nested too deeply"),
    "a huge number": (b"priority = " + b"9" * 10_000, "cannot be parsed"),
    "a huge key": (b"a" * 900_000 + b" = 1", "unknown key"),
    "a crowd of keys": (b"".join(b"x%d = 1\n" % n for n in range(20_000)), "more problems"),
    "a crowd of lines": (b"y = [\n" + b"1,\n" * 50_000 + b"]\n", "unknown key"),
}


@pytest.mark.parametrize(("content", "says"), MANIFESTS.values(), ids=MANIFESTS.keys())
def test_a_manifest_that_cannot_be_meant_is_refused(
    edited: Edited, content: bytes, says: str
) -> None:
    error = edited.refusal("dagstack.toml", content)
    assert error["type"] == "ManifestInvalid"
    assert says in error["message"]
    assert len(error["message"]) < 10_000, "a person is to read it"


CODE = {
    "NUL bytes": (b"class Plugin:\n    x = 1\0\n", "null bytes"),
    "nested parentheses": (b"x = " + b"(" * 5000 + b")" * 5000, "too many nested parentheses"),
    "nested operators": (b"x = " + b"-" * 100_000 + b"1", "too complex"),
    "a long chain": (b"x = a" + b".a" * 100_000, "recursion"),
    "not UTF-8": (b"x = '\xff'\n", "utf-8"),
    "an unknown encoding": (b"# coding: nope\nx = 1\n", "unknown encoding"),
    "no encoding of text": (b"# coding: rot13\nx = 1\n", "not a text encoding"),
}


@pytest.mark.parametrize(("content", "says"), CODE.values(), ids=CODE.keys())
def test_code_that_no_compiler_takes_is_refused(edited: Edited, content: bytes, says: str) -> None:
    assert says in edited.refusal("plugin.py", content)["message"]


def test_code_that_compiles_but_is_nested_too_deeply_to_be_searched_is_tried(
    tree: PluginTree, watch: Watch
) -> None:
    tree.plugin("a")
    run = watch("plugins")
    run.event("watch.started")
    tree.plugin("a", code=f"Plugin = {'lambda: ' * 1000}1\n")
    run.event("reload.rolled_back", running={"demo/a": 1})
    tree.plugin("a", value=2)
    run.event("reload.committed", changed=["demo/a"])
    assert run.end() == 0


@pytest.mark.parametrize(
    ("name", "limit"), [("plugin.py", "4 MiB"), ("dagstack.toml", "1 MiB"), ("data.bin", None)]
)
def test_a_file_of_100_mib_costs_neither_time_nor_memory(
    tree: PluginTree, watch: Watch, name: str, limit: str | None
) -> None:
    tree.plugin("a")
    run = watch("plugins")
    run.event("watch.started")
    before = run.peak_memory()
    sparse(tree.root / "a" / name, 100 * MIB)
    if limit is None:
        run.event("reload.committed", changed=["demo/a"])
    else:
        error = run.event("plugin.rejected", plugin="demo/a", keeps_generation=1)["error"]
        assert f"it is larger than {limit}" in error["message"]
        assert error["path"] == str(tree.root / "a" / name)
    assert run.peak_memory() - before < 50 * MIB
    assert run.end() == 0
