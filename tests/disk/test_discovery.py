"""From a root to the plugin folders below it, and from a folder to its bytes."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest
from trees import PluginTree

from dagstack_dev.disk.discovery import find_plugins
from dagstack_dev.disk.ignore import IgnoreRules
from dagstack_dev.disk.paths import root_folder
from dagstack_dev.disk.reading import read_plugin

RULES = IgnoreRules()


def found(tree: PluginTree, *, recursive: bool = True, rules: IgnoreRules = RULES) -> list[str]:
    """The plugin folders below the tree, relative to it."""
    root = str(tree.root)
    return [
        os.path.relpath(folder, root) for folder in find_plugins(root, rules, recursive=recursive)
    ]


def test_every_folder_with_a_manifest_is_a_plugin_at_any_depth(tree: PluginTree) -> None:
    for folder in ("b", "a", "group/deep/deeper/c"):
        tree.plugin("x", folder=folder)
    tree.write("empty/readme.md", "no plugin")
    assert found(tree) == ["a", "b", "group/deep/deeper/c"]


def test_nothing_below_a_plugin_is_searched(tree: PluginTree) -> None:
    tree.plugin("outer")
    tree.plugin("inner", folder="outer/tests/fixtures/inner")
    assert found(tree) == ["outer"]


def test_the_root_itself_may_be_a_plugin(tree: PluginTree) -> None:
    tree.plugin("root", folder=".")
    tree.plugin("inner")
    assert found(tree) == ["."]
    assert found(tree, recursive=False) == ["."]


def test_not_recursive_looks_at_the_root_only(tree: PluginTree) -> None:
    tree.plugin("a")
    assert found(tree, recursive=False) == []


def test_ignored_folders_are_not_searched(tree: PluginTree) -> None:
    for folder in ("build/a", ".venv/b", "node_modules/c", "drafts/d", "group/wip/e", "f"):
        tree.plugin("x", folder=folder)
    assert found(tree, rules=IgnoreRules(["drafts", "group/*"])) == ["f"]


def test_a_manifest_must_be_a_file(tree: PluginTree) -> None:
    (tree.root / "odd" / "dagstack.toml").mkdir(parents=True)
    os.mkfifo(tree.write("piped/readme", "x").with_name("dagstack.toml"))
    assert found(tree) == []


@pytest.mark.parametrize(
    ("given", "says"),
    [("missing", "missing: does not exist"), ("file.txt", "file.txt: is not a folder")],
)
def test_a_root_that_is_no_folder_is_refused(tree: PluginTree, given: str, says: str) -> None:
    tree.write("file.txt", "x")
    with pytest.raises(FileNotFoundError, match=says):
        root_folder(tree.root / given)


@pytest.mark.parametrize(
    ("given", "meant"),
    [("plgins", "plugins"), ("plugin/demo", "plugins/demo"), ("plugins/dmo", "plugins/demo")],
)
def test_the_folder_that_was_meant_is_named(
    tree: PluginTree, monkeypatch: pytest.MonkeyPatch, given: str, meant: str
) -> None:
    (tree.root / "demo").mkdir()
    monkeypatch.chdir(tree.root.parent)
    for path in (given, str(tree.root.parent / given)):
        with pytest.raises(FileNotFoundError) as caught:
            root_folder(path)
        assert str(caught.value).endswith(f"; did you mean {path.replace(given, meant)!r}?")


@pytest.mark.parametrize("given", ["plgins/other", "quite", "plugins/x/y", "~/plgins", "demo"])
def test_nothing_is_guessed_where_no_folder_is_near(
    tree: PluginTree, monkeypatch: pytest.MonkeyPatch, given: str
) -> None:
    (tree.root.parent / "dem").write_text("a file")
    monkeypatch.chdir(tree.root.parent)
    with pytest.raises(FileNotFoundError, match=r"was expected$"):
        root_folder(given)


def test_relative_paths_and_the_home_folder_become_absolute(
    tree: PluginTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tree.root.parent)
    monkeypatch.setenv("HOME", str(tree.root.parent))
    expected = str(tree.root)
    for given in ("plugins", "./plugins/", "plugins/../plugins", "~/plugins", tree.root):
        assert root_folder(given) == expected


def test_a_folder_that_denies_access_counts_as_empty(tree: PluginTree) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may read every folder")
    tree.plugin("a")
    tree.plugin("hidden", folder="locked/hidden")
    locked = tree.root / "locked"
    locked.chmod(0)
    try:
        assert found(tree) == ["a"]
    finally:
        locked.chmod(0o755)


def test_a_folder_whose_path_is_too_long_counts_as_empty(tree: PluginTree) -> None:
    tree.plugin("a")
    here = os.open(tree.root, os.O_RDONLY)
    try:  # Deeper than a path can say: scandir fails on it whoever asks.
        for _ in range(20):
            os.mkdir("d" * 250, dir_fd=here)
            deeper = os.open("d" * 250, os.O_RDONLY, dir_fd=here)
            os.close(here)
            here = deeper
    finally:
        os.close(here)
    assert found(tree) == ["a"]


def test_only_code_and_the_manifest_are_kept_of_the_rest_a_fingerprint(tree: PluginTree) -> None:
    folder = tree.plugin("a", code="X = 1\n")
    tree.write("a/templates/page.html", "hello")
    source, seen = read_plugin(str(folder), str(tree.root), RULES)
    assert sorted(source.files) == ["dagstack.toml", "plugin.py", "templates/page.html"]
    assert source.files["plugin.py"].content == b"X = 1\n"
    assert source.manifest is not None
    assert source.manifest.content == (folder / "dagstack.toml").read_bytes()
    assert source.files["templates/page.html"].content is None
    tree.write("a/templates/page.html", "HELLO")
    again, _ = read_plugin(str(folder), str(tree.root), RULES, seen)
    assert source.changed_files(again) == ("templates/page.html",)


def test_pipes_sockets_and_dead_links_in_a_plugin_are_passed_over(
    tree: PluginTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tree.plugin("a")
    os.mkfifo(folder / "pipe.py")
    (folder / "dead.py").symlink_to("nowhere.py")
    (folder / "self.py").symlink_to("self.py")
    monkeypatch.chdir(folder)  # The path of a socket may not be long.
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("control.py")
        source, _ = read_plugin(str(folder), str(tree.root), RULES)
    assert sorted(source.files) == ["dagstack.toml", "plugin.py"]


def test_a_file_that_cannot_be_read_says_why(tree: PluginTree) -> None:
    folder = tree.plugin("a")
    secret = tree.write("a/secret.py", "x = 1\n")
    if os.geteuid() == 0:
        pytest.skip("root may read every file")
    secret.chmod(0)
    source, _ = read_plugin(str(folder), str(tree.root), RULES)
    assert source.files["secret.py"].content is None
    assert source.files["secret.py"].error == "Permission denied"


def test_a_folder_that_is_gone_is_a_source_without_files(tree: PluginTree) -> None:
    source, seen = read_plugin(str(tree.root / "gone"), str(tree.root), RULES)
    assert (dict(source.files), seen) == ({}, {})
    assert source.manifest is None


def test_names_that_are_not_utf8_are_read_like_any_other(tree: PluginTree) -> None:
    folder = tree.plugin("a")
    Path(os.fsdecode(os.fsencode(folder) + b"/\xff.txt")).write_text("x", encoding="utf-8")
    source, _ = read_plugin(str(folder), str(tree.root), RULES)
    assert len(source.files) == 3
