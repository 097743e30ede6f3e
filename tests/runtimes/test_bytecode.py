"""Bytecode kept on disk: it saves compiling again, and is never that of another content."""

from __future__ import annotations

import errno
import importlib.util
import marshal
import os
import shutil
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest
from serving import serving
from trees import PluginTree

from dagstack_dev import discover
from dagstack_dev.runtimes import bytecode


@pytest.fixture(autouse=True)
def bytecode_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    monkeypatch.setattr(sys, "pycache_prefix", None)


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The files that were compiled from their text."""
    paths: list[str] = []
    compile_text = bytecode.compile_text

    def noting(path: str, content: bytes) -> object:
        paths.append(path)
        return compile_text(path, content)

    monkeypatch.setattr(bytecode, "compile_text", noting)
    return paths


def answer(tree: PluginTree, name: str = "one") -> object:
    return discover(tree.root).get_plugin("demo", name).value()


def cache_of(folder: Path) -> Path:
    return Path(importlib.util.cache_from_source(str(folder / "plugin.py")))


def rewrite(file: Path, old: str, new: str) -> None:
    """An edit that nothing but the content tells: the same length and the same times."""
    assert len(old) == len(new)
    before = file.stat()
    file.write_text(file.read_text(encoding="utf-8").replace(old, new), encoding="utf-8")
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))


def test_a_second_start_compiles_nothing(tree: PluginTree, compiled: list[str]) -> None:
    tree.plugin("one", value=1)
    assert answer(tree) == 1
    assert len(compiled) == 1
    assert answer(tree) == 1
    assert len(compiled) == 1


def test_an_edit_with_the_same_size_and_time_is_seen_by_a_second_start(tree: PluginTree) -> None:
    file = tree.plugin("one", value=1) / "plugin.py"
    assert answer(tree) == 1
    rewrite(file, "VALUE = 1", "VALUE = 2")
    assert answer(tree) == 2


async def test_an_edit_with_the_same_size_and_time_is_seen_by_a_reload(tree: PluginTree) -> None:
    file = tree.plugin("one", value=1) / "plugin.py"
    async with serving(tree) as live:
        rewrite(file, "VALUE = 1", "VALUE = 2")
        await live.settle()
        assert live.plugin("one").value() == 2
    assert answer(tree) == 2


def test_cpython_takes_what_was_kept_for_its_own(tree: PluginTree) -> None:
    folder = tree.plugin("one", value=1)
    answer(tree)
    file = folder / "plugin.py"
    kept = cache_of(folder).read_bytes()
    spec = importlib.util.spec_from_file_location("bare_one", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.Plugin.VALUE == 1
    assert cache_of(folder).read_bytes() == kept
    rewrite(file, "VALUE = 1", "VALUE = 2")
    spec.loader.exec_module(module)
    assert module.Plugin.VALUE == 2


def wrong_code(data: bytes) -> bytes:
    return data[:16] + marshal.dumps(compile("raise AssertionError", "other.py", "exec"))


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda _: b"",
    "cut within the header": lambda data: data[:9],
    "cut behind the header": lambda data: data[:16],
    "cut within the code": lambda data: data[: len(data) // 2],
    "zeroed": lambda data: bytes(len(data)),
    "no code behind the header": lambda data: data[:16] + marshal.dumps("text"),
    "nonsense behind the header": lambda data: data[:16] + b"\xff" * 100,
    "of another Python": lambda data: b"\x00\x00\r\n" + wrong_code(data)[4:],
    "of another content": lambda data: data[:8] + bytes(8) + wrong_code(data)[16:],
    "checked by time": lambda data: data[:4] + bytes(4) + wrong_code(data)[8:],
    "not checked at all": lambda data: data[:4] + b"\x01\x00\x00\x00" + wrong_code(data)[8:],
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
def test_a_file_that_does_not_hold_is_left_alone_and_made_anew(
    tree: PluginTree, damage: Callable[[bytes], bytes]
) -> None:
    cache = cache_of(tree.plugin("one", value=1))
    answer(tree)
    whole = cache.read_bytes()
    cache.write_bytes(damage(whole))
    assert answer(tree) == 1
    again = cache.read_bytes()
    assert again[:16] == whole[:16]
    assert marshal.loads(again[16:]) == marshal.loads(whole[16:])


def test_code_of_a_folder_that_was_moved_names_its_new_place(tree: PluginTree) -> None:
    code = "class Plugin:\n    def value(self):\n        raise ZeroDivisionError\n"
    folder = tree.plugin("one", code=code)
    with pytest.raises(ZeroDivisionError):
        answer(tree)
    moved = tree.root / "moved"
    shutil.move(folder, moved)
    with pytest.raises(ZeroDivisionError) as raised:
        answer(tree)
    assert traceback.extract_tb(raised.value.__traceback__)[-1].filename == str(moved / "plugin.py")


def test_a_folder_that_cannot_be_written_to_is_no_error(
    tree: PluginTree, compiled: list[str]
) -> None:
    folder = tree.plugin("one", value=1)
    cache_of(folder).parent.write_text("a file where the folder should be", encoding="utf-8")
    assert answer(tree) == 1
    assert answer(tree) == 1
    assert len(compiled) == 2


def test_nothing_is_left_beside_what_is_kept(tree: PluginTree) -> None:
    cache = cache_of(tree.plugin("one", value=1))
    answer(tree)
    assert list(cache.parent.iterdir()) == [cache]


def test_a_disk_that_fails_half_way_leaves_nothing_behind(
    tree: PluginTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, "no space left")

    cache = cache_of(tree.plugin("one", value=1))
    monkeypatch.setattr(os, "replace", fail)
    assert answer(tree) == 1
    assert list(cache.parent.iterdir()) == []


def test_code_that_cannot_be_kept_runs_all_the_same(
    tree: PluginTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: object) -> bytes:
        raise ValueError("object too deeply nested to marshal")

    monkeypatch.setattr(marshal, "dumps", refuse)
    tree.plugin("one", value=1)
    assert answer(tree) == 1


def test_what_is_kept_is_as_private_as_its_source(tree: PluginTree) -> None:
    folder = tree.plugin("one", value=1)
    (folder / "plugin.py").chmod(0o600)
    answer(tree)
    assert cache_of(folder).stat().st_mode & 0o777 == 0o600


def test_nothing_is_written_where_python_is_set_not_to(
    tree: PluginTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    folder = tree.plugin("one", value=1)
    assert answer(tree) == 1
    assert not (folder / "__pycache__").exists()


def test_it_is_kept_where_python_is_set_to_keep_it(
    tree: PluginTree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, compiled: list[str]
) -> None:
    monkeypatch.setattr(sys, "pycache_prefix", str(tmp_path / "elsewhere"))
    folder = tree.plugin("one", value=1)
    assert answer(tree) == 1
    assert not (folder / "__pycache__").exists()
    assert cache_of(folder).is_relative_to(tmp_path / "elsewhere")
    assert answer(tree) == 1
    assert len(compiled) == 1


def test_a_python_that_keeps_no_bytecode_compiles_every_time(
    tree: PluginTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: str) -> str:
        raise NotImplementedError

    monkeypatch.setattr(bytecode, "cache_from_source", refuse)
    tree.plugin("one", value=1)
    assert answer(tree) == 1
    assert answer(tree) == 1


async def test_a_reload_neither_reads_nor_writes_bytecode(
    tree: PluginTree, compiled: list[str]
) -> None:
    folder = tree.plugin("one", value=1)
    async with serving(tree) as live:
        kept = cache_of(folder).read_bytes()
        tree.plugin("one", value=2)
        await live.settle()
        assert live.plugin("one").value() == 2
        assert cache_of(folder).read_bytes() == kept
    assert len(compiled) == 1


async def test_what_a_start_writes_causes_no_reload(tree: PluginTree) -> None:
    folder = tree.plugin("one", value=1)
    async with serving(tree) as live:
        assert cache_of(folder).exists()
        await live.settle()
        assert live.status("one").generation == 1
        assert not live.outcomes
