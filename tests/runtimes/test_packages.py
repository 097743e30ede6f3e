"""The `__init__.py` files on the way to a plugin's modules are as needed as the modules."""

from __future__ import annotations

import pytest
from serving import edit, ref, serving
from trees import PluginTree

from dagstack_dev import PluginLoadError, State
from dagstack_dev.core.events import PluginRejected, ReloadCommitted, Transition

CODE = """
class Plugin:
    def value(self):
        return 1
"""
USER = """
from .parts import WORD
class Plugin:
    def value(self):
        return WORD
"""
PLACES = {
    "the root's, that was not there": ("plugin", CODE, {}, "__init__.py"),
    "the root's": ("plugin", CODE, {"__init__.py": ""}, "__init__.py"),
    "that of the entry module's package": (
        "pkg.plugin",
        CODE,
        {"pkg/__init__.py": ""},
        "pkg/__init__.py",
    ),
    "the root's, above the entry module's package": ("pkg.plugin", CODE, {}, "__init__.py"),
    "one in the middle of the entry module's name": (
        "pkg.sub.plugin",
        CODE,
        {"pkg/sub/__init__.py": ""},
        "pkg/sub/__init__.py",
    ),
    "the entry module itself": ("pkg", "", {"pkg/__init__.py": CODE}, "pkg/__init__.py"),
    "the entry module itself, beside a file of that name": (
        "plugin",
        CODE,
        {"plugin/__init__.py": CODE},
        "plugin/__init__.py",
    ),
    "that of a subpackage that is imported": (
        "plugin",
        USER,
        {"parts/__init__.py": "WORD = 1"},
        "parts/__init__.py",
    ),
}


def write(tree: PluginTree, entry: str, code: str, files: dict[str, str]) -> None:
    folder = tree.plugin("base", code="")
    (folder / "plugin.py").unlink()
    edit(folder / "dagstack.toml", "plugin:Plugin", f"{entry}:Plugin")
    if code:
        tree.write(folder / f"{entry.replace('.', '/')}.py", code)
    for path, text in files.items():
        tree.write(folder / path, text)


@pytest.mark.parametrize(("entry", "code", "files", "broken"), PLACES.values(), ids=PLACES.keys())
async def test_a_broken_init_is_rejected_and_touches_nothing_that_runs(
    tree: PluginTree, entry: str, code: str, files: dict[str, str], broken: str
) -> None:
    write(tree, entry, code, files)
    tree.plugin("user", depends_on=["base"])
    async with serving(tree) as live:
        kept = [live.instance(name) for name in ("base", "user")]
        path = tree.write(f"base/{broken}", "def broken(:\n")
        await live.settle()

        [rejected] = live.of(PluginRejected)
        assert isinstance(rejected.error, PluginLoadError)
        assert (rejected.error.stage, rejected.error.path) == ("compile", str(path))
        assert rejected.ref == ref("base")
        assert live.of(Transition) == []
        assert live.journal == []
        assert [live.instance(name) for name in ("base", "user")] == kept
        del kept

        tree.write(path, files.get(broken, "") + "\n# mended\n")
        await live.settle()
        assert live.outcomes == [ReloadCommitted]
        assert live.plugin("base").value() == 1


async def test_a_broken_init_that_nothing_imports_stops_no_plugin(tree: PluginTree) -> None:
    tree.plugin("base")
    tree.write("base/drafts/__init__.py", "def broken(:\n")
    async with serving(tree) as live:
        assert live.state("base") is State.READY


async def test_an_empty_folder_leaves_no_module_behind(tree: PluginTree) -> None:
    tree.plugin("base", code=USER)
    (tree.root / "base/parts").mkdir()
    async with serving(tree) as live:
        assert live.state("base") is State.FAILED
        assert live.module("base", "parts") is None
        tree.write("base/parts.py", "WORD = 1\n")
        await live.settle()
        assert live.plugin("base").value() == 1
