"""The end of a problem is a fact of its own, once."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from serving import Live, edit, make_live, ref, serving
from trees import PluginTree

from dagstack_dev.core.events import PluginFixed, PluginRejected, WatchProblem, WatchRecovered
from dagstack_dev.logs import error_fields

MATCHES = "the file matches what runs"


def fixed(live: Live) -> list[tuple[object, str, str]]:
    return [(each.ref, each.path, each.message) for each in live.of(PluginFixed)]


@pytest.mark.parametrize(
    ("name", "broken"),
    [
        ("plugin.py", "class Plugin"),
        ("dagstack.toml", "[plugin]\nname ="),
        ("plugin.py", "class Plugin:\n    def setup(self, ctx): raise OSError('no')\n"),
    ],
)
async def test_an_edit_that_is_taken_back_is_fixed(
    tree: PluginTree, name: str, broken: str
) -> None:
    path = tree.plugin("one") / name
    good = path.read_text(encoding="utf-8")
    async with serving(tree) as live:
        path.write_text(broken, encoding="utf-8")
        await live.settle()
        assert fixed(live) == []
        path.write_text(good, encoding="utf-8")
        await live.settle()
        assert fixed(live) == [(ref("one"), str(path.parent), MATCHES)]
        tree.plugin("one", value=2)
        await live.settle()
        assert fixed(live) == []


async def test_an_edit_that_is_fixed_by_another_is_fixed(tree: PluginTree) -> None:
    folder = tree.plugin("one")
    async with serving(tree) as live:
        tree.plugin("one", code="class Plugin")
        await live.settle()
        tree.plugin("one", value=2)
        await live.settle()
        assert fixed(live) == [(ref("one"), str(folder), "what is on disk runs")]


async def test_a_dependency_that_comes_fixes_what_was_rejected_without_it(tree: PluginTree) -> None:
    folder = tree.plugin("one")
    async with serving(tree) as live:
        tree.plugin("one", depends_on=["two"])
        await live.settle()
        assert len(live.of(PluginRejected)) == 1
        tree.plugin("two")
        await live.settle()
        assert fixed(live) == [(ref("one"), str(folder), "what is on disk runs")]


async def test_a_duplicate_that_goes_is_fixed_and_reported_again_when_it_comes_back(
    tree: PluginTree,
) -> None:
    tree.plugin("one")
    async with serving(tree) as live:
        for _ in range(2):
            copy = tree.plugin("one", folder="copy")
            await live.settle()
            assert [each.path for each in live.of(PluginRejected)] == [str(copy)]
            shutil.rmtree(copy)
            await live.settle()
            assert fixed(live) == [(None, str(copy), "it is gone from disk")]


async def test_what_goes_down_for_something_else_while_it_is_rejected_is_not_fixed(
    tree: PluginTree,
) -> None:
    base = tree.plugin("base")
    tree.plugin("user", depends_on=["base"])
    async with serving(tree) as live:
        tree.write("user/plugin.py", "class Plugin\n")
        await live.settle()
        assert [each.ref for each in live.of(PluginRejected)] == [ref("user")]
        shutil.rmtree(base)
        await live.settle()
        assert live.states == {"user": "failed"}
        assert fixed(live) == []
        tree.plugin("base")
        user = tree.plugin("user", depends_on=["base"])
        await live.settle()
        assert fixed(live) == [(ref("user"), str(user), "what is on disk runs")]


async def test_a_duplicate_whose_original_goes_is_fixed(tree: PluginTree) -> None:
    original = tree.plugin("one")
    async with serving(tree) as live:
        copy = tree.plugin("one", value=2, folder="copy")
        await live.settle()
        shutil.rmtree(original)
        await live.settle()
        assert (ref("one"), str(copy), "what is on disk runs") in fixed(live)
        assert live.plugin("one").value() == 2


async def test_a_configuration_that_can_be_read_again_is_fixed(
    tree: PluginTree, tmp_path: Path
) -> None:
    tree.plugin("one")
    file = tmp_path / "config.toml"
    file.write_text("[demo.one]\nsize = 1\n", encoding="utf-8")
    async with serving(tree, config_file=file) as live:
        for _ in range(2):
            edit(file, "size = 1", "size = ")
            await live.settle()
            assert [each.path for each in live.of(PluginRejected)] == [str(file)]
            edit(file, "size = ", "size = 1")
            await live.settle()
            assert fixed(live) == [(None, str(file), "the file can be used again")]


async def test_a_root_that_is_there_again_is_reported(tree: PluginTree, tmp_path: Path) -> None:
    tree.plugin("one")
    live = make_live(tree)
    async with live.server:
        tree.root.rename(tmp_path / "away")
        await live.fact(WatchProblem)
        (tmp_path / "away").rename(tree.root)
        recovered = await live.fact(WatchRecovered)
        assert recovered.path == str(tree.root)
        assert live.state("one") == "ready"


@pytest.mark.parametrize(
    ("code", "error", "message", "line"),
    [
        ("class Plugin: ...\nimport nothing\n", "ModuleNotFoundError", "No module named", 2),
        ("class Plugin:\n  def __init__(self): raise OSError('full')\n", "OSError", "full", 2),
        ("class Plugin", "SyntaxError", "expected ':'", 1),
    ],
)
async def test_the_type_of_an_error_is_that_of_the_exception_of_the_plugin(
    tree: PluginTree, code: str, error: str, message: str, line: int
) -> None:
    path = tree.plugin("one", code=code) / "plugin.py"
    async with serving(tree) as live:
        found = live.status("one").error
        assert found is not None
        fields = error_fields(found)
        assert message in fields.pop("message")
        assert fields == {"type": error, "path": str(path), "line": line}
