"""What a plugin has imported from its folder counts, whatever it is and whoever made it."""

from __future__ import annotations

import _queue
import py_compile
import shutil
from pathlib import Path

import pytest
from serving import Live, edit, serving
from sharing import user
from trees import PluginTree

from dagstack_dev.core.events import (
    PluginRequiresRestart,
    ReloadCommitted,
    ReloadRolledBack,
    ReloadSkipped,
    Transition,
)
from dagstack_dev.core.lifecycle import State

IMPORTS = """
from .{place}.words import WORD

class Plugin:
    def value(self):
        return WORD
"""

GENERATES = """
from importlib import import_module, invalidate_caches
from pathlib import Path

WORD = 1

class Plugin:
    def setup(self, ctx):
        (Path(__file__).parent / "generated.py").write_text(f"WORD = {WORD}\\n")
        invalidate_caches()
        self.generated = import_module(".generated", __package__)
        if WORD == 3:
            raise ValueError("three")

    def value(self):
        from . import generated
        assert generated is self.generated
        return generated.WORD
"""

PUTS_BY_HAND = """
import sys
from types import ModuleType

WORD = 1
NAME = f"{__package__}.virtual"
if NAME not in sys.modules:
    sys.modules[NAME] = ModuleType(NAME)
    sys.modules[NAME].WORD = WORD

class Plugin:
    def value(self):
        from .virtual import WORD
        return WORD
"""


async def committed(live: Live, value: object) -> None:
    await live.fact(ReloadCommitted)
    live.forget()
    assert live.plugin("a").value() == value


@pytest.mark.parametrize(
    ("place", "model", "polling"),
    [
        ("build", "sync", False),
        ("dist.deep", "sync", False),
        ("dist.deep", "sync", True),
        ("drafts", "sync", False),
        ("build", "process_cpu_bound", False),
    ],
)
async def test_code_in_a_folder_that_is_ignored_counts_once_it_is_imported(
    tree: PluginTree, place: str, model: str, polling: bool
) -> None:
    folder = tree.plugin(
        "a", code=IMPORTS.format(place=place), manifest=f'execution_model = "{model}"'
    )
    inside = folder / place.replace(".", "/")
    words = tree.write(inside / "words.py", "WORD = 1\n")
    async with serving(tree, ignore=("drafts",), polling=polling) as live:
        value = live.plugin("a").value

        async def answer() -> object:
            return await value() if model == "process_cpu_bound" else value()

        assert await answer() == 1
        tree.write(inside / "unused.py", "WORD = 1\n")
        await live.settle()
        assert live.of(ReloadCommitted) == [], "it is taken in as it is"
        for word in (2, 3):
            words.write_text(f"WORD = {word}\n", encoding="utf-8")
            await live.fact(ReloadCommitted)
            live.forget()
            assert await answer() == word
        words.write_text("WORD = (", encoding="utf-8")
        await live.settle()
        assert await answer() == 3, "an edit that does not compile is rejected"
        assert live.of(Transition) == []


async def test_a_module_that_was_missing_in_such_a_folder_is_awaited(tree: PluginTree) -> None:
    folder = tree.plugin("a", code=IMPORTS.format(place="build"))
    tree.write(folder / "build" / "__init__.py", "")
    async with serving(tree) as live:
        assert live.state("a") is State.FAILED
        live.forget()
        tree.write(folder / "build" / "words.py", "WORD = 1\n")
        await committed(live, 1)


async def test_an_entry_point_in_a_folder_of_build_tools_is_found(tree: PluginTree) -> None:
    folder = tree.plugin("a", code="")
    (folder / "plugin.py").unlink()
    edit(folder / "dagstack.toml", '"plugin:Plugin"', '"build.plugin:Plugin"')
    tree.write(folder / "build" / "plugin.py", "class Plugin:\n    value = lambda self: 1\n")
    async with serving(tree) as live:
        assert live.plugin("a").value() == 1
        live.forget()
        edit(folder / "build" / "plugin.py", "1", "2")
        await committed(live, 2)


async def test_a_module_that_a_plugin_generates_is_what_the_last_setup_has_made(
    tree: PluginTree,
) -> None:
    folder = tree.plugin("a", code=GENERATES)
    async with serving(tree) as live:
        assert live.plugin("a").value() == 1
        await live.settle()
        assert live.plugin("a").value() == 1
        edit(folder / "plugin.py", "WORD = 1", "WORD = 2")
        await live.fact(ReloadCommitted)
        await live.settle()
        assert live.plugin("a").value() == 2
        edit(folder / "plugin.py", "WORD = 2", "WORD = 3")
        await live.fact(ReloadRolledBack)
        assert live.plugin("a").generated.WORD == 2


async def test_a_module_that_a_plugin_puts_in_place_by_hand_goes_with_it(
    tree: PluginTree,
) -> None:
    folder = tree.plugin("a", code=PUTS_BY_HAND)
    async with serving(tree) as live:
        assert live.plugin("a").value() == 1
        live.forget()
        edit(folder / "plugin.py", "WORD = 1", "WORD = 2")
        await committed(live, 2)


async def test_compiled_code_without_its_source_is_loaded_anew(
    tree: PluginTree, tmp_path: Path
) -> None:
    folder = tree.plugin("a", code=IMPORTS.format(place="lib"))
    compiled = folder / "lib" / "words.pyc"
    compiled.parent.mkdir()
    source = tmp_path / "words.py"

    def write(word: int) -> None:
        source.write_text(f"WORD = {word}\n", encoding="utf-8")
        py_compile.compile(str(source), cfile=str(compiled), doraise=True)

    write(1)
    async with serving(tree) as live:
        assert live.plugin("a").value() == 1
        live.forget()
        write(2)
        await committed(live, 2)


async def test_an_extension_module_that_changes_needs_a_restart(tree: PluginTree) -> None:
    folder = tree.plugin("a", code="from ._queue import SimpleQueue\nclass Plugin: pass\n")
    library = Path(_queue.__file__)
    copy = folder / library.name
    shutil.copy(library, copy)
    async with serving(tree) as live:
        assert live.state("a") is State.READY
        live.forget()
        new = folder.with_name("new")
        new.write_bytes(library.read_bytes() + b"changed")
        new.replace(copy)
        told = await live.fact(PluginRequiresRestart)
        assert str(copy) in told.reason
        assert live.status("a").requires_restart
        assert live.of(ReloadSkipped) == []


async def test_shared_code_in_a_folder_that_is_ignored_counts_where_it_is_imported(
    tree: PluginTree, imports_forgotten: None
) -> None:
    tree.write("build/__init__.py", "")
    words = tree.write("build/words.py", "WORD = 1\n")
    user(tree, "a", "from build.words import WORD", "WORD")
    async with serving(tree) as live:
        for word in (2, 3):
            words.write_text(f"WORD = {word}\n", encoding="utf-8")
            await committed(live, word)
        tree.write("build/unused.py", "WORD = 1\n")
        await live.settle()
        assert live.facts == []
