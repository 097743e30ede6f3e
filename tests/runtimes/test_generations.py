"""Generations of one plugin: prepared beside the old one, set aside, brought back."""

from __future__ import annotations

import linecache
import sys
from typing import Any

import pytest
from trees import PluginTree

from dagstack_dev import PluginLoadError
from dagstack_dev.core.manifest.parsing import parse_manifest
from dagstack_dev.core.ports import Prepared
from dagstack_dev.disk.ignore import IgnoreRules
from dagstack_dev.disk.reading import read_plugin
from dagstack_dev.runtimes.in_process.plugin_code import InProcessCode
from dagstack_dev.runtimes.in_process.runtime import InProcessRuntime

CODE = """
    from .helper import WORD
    class Plugin:
        def value(self):
            return "{word}", WORD
"""


class Bench:
    """One plugin folder and a runtime of its own."""

    def __init__(self, tree: PluginTree) -> None:
        self.tree = tree
        self.runtime = InProcessRuntime()

    def write(self, word: str) -> None:
        self.tree.plugin("one", code=CODE.format(word=word))
        self.tree.write("one/helper.py", f"WORD = '{word}'\n")

    def prepare(self, previous: Prepared | None = None) -> InProcessCode:
        root = str(self.tree.root)
        source, _ = read_plugin(f"{root}/one", root, IgnoreRules())
        assert source.manifest is not None
        manifest = parse_manifest(source.manifest.content or b"", source.manifest_path)
        code = self.runtime.prepare(manifest, source, previous)
        assert isinstance(code, InProcessCode)
        return code

    def modules(self) -> dict[str, Any]:
        prefix = f"{self.runtime.namespace}."
        return {
            name: module
            for name, module in sys.modules.copy().items()
            if name.startswith(prefix) and getattr(module, "__file__", None)
        }


@pytest.fixture
def bench(tree: PluginTree) -> Bench:
    return Bench(tree)


def value(generation: Any) -> tuple[str, str]:
    answer: tuple[str, str] = generation.instantiate().value()
    return answer


def test_a_new_generation_has_fresh_modules_of_the_same_names(bench: Bench) -> None:
    bench.write("old")
    old_code = bench.prepare()
    old = old_code.load()
    before = bench.modules()
    bench.write("new")
    new_code = bench.prepare(old_code)
    assert bench.modules() == before
    old.unload()
    assert bench.modules() == {}
    new = new_code.load()
    after = bench.modules()
    assert (value(old), value(new)) == (("old", "old"), ("new", "new"))
    assert before.keys() == after.keys()
    assert all(before[name] is not after[name] for name in before)


def test_a_generation_that_was_set_aside_comes_back_with_its_own_modules(bench: Bench) -> None:
    bench.write("old")
    code = bench.prepare()
    old = code.load()
    before = bench.modules()
    bench.write("new")
    newer = bench.prepare(code)
    old.unload()
    newer.load().unload()
    old.activate()
    assert bench.modules() == before
    assert value(old) == ("old", "old")


def test_a_load_that_fails_leaves_room_for_the_old_generation(bench: Bench) -> None:
    bench.write("old")
    code = bench.prepare()
    old = code.load()
    before = bench.modules()
    bench.tree.write("one/helper.py", "raise LookupError\n")
    newer = bench.prepare(code)
    old.unload()
    with pytest.raises(PluginLoadError):
        newer.load()
    assert bench.modules() == {}
    old.activate()
    assert bench.modules() == before


def test_a_name_that_was_deleted_is_gone(bench: Bench) -> None:
    bench.write("old")
    code = bench.prepare()
    code.load().unload()
    bench.tree.write("one/helper.py", "OTHER = 1\n")
    with pytest.raises(PluginLoadError, match="cannot import name 'WORD'"):
        bench.prepare(code).load()


def test_an_edit_of_the_same_length_in_the_same_moment_counts(bench: Bench) -> None:
    bench.write("aaa")
    code = bench.prepare()
    code.load().unload()
    bench.write("bbb")
    assert value(bench.prepare(code).load()) == ("bbb", "bbb")


def test_unchanged_files_are_compiled_once(bench: Bench) -> None:
    bench.write("old")
    code = bench.prepare()
    bench.tree.write("one/helper.py", "WORD = 'new'\n")
    newer = bench.prepare(code)
    assert newer.files["plugin.py"] is code.files["plugin.py"]
    assert newer.files["helper.py"] is not code.files["helper.py"]


def test_linecache_shows_the_text_that_runs(bench: Bench) -> None:
    def line() -> str:
        linecache.checkcache()
        return linecache.getline(f"{bench.tree.root}/one/helper.py", 1)

    bench.write("old")
    code = bench.prepare()
    old = code.load()
    assert line() == "WORD = 'old'\n"
    bench.write("new")
    newer = bench.prepare(code)
    assert line() == "WORD = 'old'\n"
    old.unload()
    new = newer.load()
    assert line() == "WORD = 'new'\n"
    new.unload()
    old.activate()
    assert line() == "WORD = 'old'\n"
