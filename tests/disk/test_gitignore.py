"""What git ignores, and what a manifest does, is no source of a plugin."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from serving import serving
from trees import PluginTree

from dagstack_dev import ManifestInvalid, load_manifest
from dagstack_dev.core.events import ReloadCommitted
from dagstack_dev.disk.ignore import IgnoreRules
from dagstack_dev.disk.reading import read_plugin

OWN = {"dagstack.toml", "plugin.py"}


def counted(tree: PluginTree, folder: str = "a") -> set[str]:
    """The files of a plugin that count, but for what every plugin has."""
    source, _ = read_plugin(str(tree.root / folder), str(tree.root), IgnoreRules())
    return {each for each in source.files if not each.endswith(".gitignore")} - OWN


def some_files(tree: PluginTree, *paths: str) -> None:
    for path in paths:
        tree.write(f"a/{path}", "x")


@pytest.mark.parametrize(
    ("lines", "left"),
    [
        ("*.csv", {"keep.txt", "data/keep.txt", "data/deep/keep.txt"}),
        ("*.csv\n!rows.csv", {"keep.txt", "rows.csv", "data/keep.txt", "data/rows.csv",
                              "data/deep/keep.txt"}),
        ("/rows.csv", {"keep.txt", "data/keep.txt", "data/rows.csv", "data/deep/keep.txt",
                       "data/more.csv"}),
        ("data/", {"keep.txt", "rows.csv"}),
        ("data/*\n!data/deep/", {"keep.txt", "rows.csv", "data/deep/keep.txt"}),
        ("# data/\n\n!\nkeep.txt  ", {"rows.csv", "data/rows.csv", "data/more.csv"}),
        ("data/**/keep.txt", {"keep.txt", "rows.csv", "data/rows.csv", "data/more.csv"}),
    ],
)  # fmt: skip
def test_a_gitignore_means_what_git_takes_it_for(
    tree: PluginTree, lines: str, left: set[str]
) -> None:
    tree.plugin("a")
    some_files(
        tree, "keep.txt", "rows.csv", "data/keep.txt", "data/rows.csv", "data/more.csv",
        "data/deep/keep.txt",
    )  # fmt: skip
    tree.write("a/.gitignore", lines)
    assert counted(tree) == left


@pytest.mark.parametrize("lines", ["*.csv\n" * 20_000, None], ids=["huge", "a folder"])
def test_a_gitignore_that_cannot_be_meant_is_passed_over(
    tree: PluginTree, lines: str | None
) -> None:
    tree.plugin("a")
    some_files(tree, "rows.csv")
    if lines is None:
        tree.write("a/.gitignore/x.txt", "*.csv")
        assert counted(tree) == {"rows.csv", ".gitignore/x.txt"}
    else:
        tree.write("a/.gitignore", lines)
        assert counted(tree) == {"rows.csv"}


def test_a_name_that_is_no_text_is_held_against_it_like_any(tree: PluginTree) -> None:
    tree.plugin("a")
    some_files(tree, "\udcff.csv", "\udcff.txt")
    tree.write("a/.gitignore", "*.csv")
    assert counted(tree) == {"\udcff.txt"}


def test_the_innermost_gitignore_decides(tree: PluginTree) -> None:
    tree.plugin("a")
    some_files(tree, "rows.csv", "data/rows.csv", "data/deep/rows.csv")
    tree.write(".gitignore", "*.csv")
    assert counted(tree) == set()
    tree.write("a/data/.gitignore", "!*.csv")
    assert counted(tree) == {"data/rows.csv", "data/deep/rows.csv"}
    tree.write("a/data/deep/.gitignore", "*")
    assert counted(tree) == {"data/rows.csv"}


def test_it_counts_from_the_top_of_the_working_tree_down(tmp_path: Path) -> None:
    tree = PluginTree(tmp_path / "outer" / "repository" / "plugins")
    tree.plugin("a")
    some_files(tree, "rows.csv", "rows.txt", "rows.bin")
    (tmp_path / "outer" / ".gitignore").write_text("*.bin")
    (tmp_path / "outer" / "repository" / ".gitignore").write_text("*.csv")
    (tmp_path / "outer" / "repository" / ".git").mkdir()
    tree.write(".gitignore", "/a/*.txt")
    assert counted(tree) == {"rows.bin"}


@pytest.mark.parametrize("linked", [False, True])
def test_what_the_repository_excludes_is_ignored_by_git(tmp_path: Path, *, linked: bool) -> None:
    main = tmp_path / "main"
    top = tmp_path / "linked" if linked else main
    subprocess.run(["git", "init", "-q", main], check=True)
    if linked:
        commit = ("-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "a")
        subprocess.run(["git", "-C", main, *commit, "--allow-empty"], check=True)
        subprocess.run(["git", "-C", main, "worktree", "add", "-q", top], check=True)
    tree = PluginTree(top / "plugins")
    tree.plugin("a")
    some_files(tree, "rows.csv", "rows.txt", "deep/rows.csv")
    assert counted(tree) == {"rows.csv", "rows.txt", "deep/rows.csv"}
    (main / ".git/info/exclude").write_text("/plugins/a/*.csv\n*.txt\n")
    assert counted(tree) == {"deep/rows.csv"}
    tree.write("a/.gitignore", "!*.txt")
    assert counted(tree) == {"deep/rows.csv", "rows.txt"}


def test_git_need_not_be_asked(tree: PluginTree) -> None:
    tree.plugin("a")
    some_files(tree, "rows.csv", "data/rows.csv")
    tree.write(".gitignore", "rows.csv")
    tree.write("a/data/.gitignore", "*.csv")
    rules = IgnoreRules(gitignore=False)
    source, _ = read_plugin(str(tree.root / "a"), str(tree.root), rules)
    assert source.files.keys() >= {"rows.csv", "data/rows.csv"}


@pytest.mark.parametrize("pattern", ["*", "/a/", "a", "plugins/"])
def test_a_plugin_that_git_ignores_as_a_whole_counts_as_a_whole(
    tree: PluginTree, pattern: str
) -> None:
    tree.plugin("a")
    some_files(tree, "rows.csv")
    (tree.root.parent / ".gitignore").write_text(pattern)
    (tree.root.parent / ".git").mkdir()
    assert counted(tree) == {"rows.csv"}


def test_code_and_manifests_count_although_git_ignores_them(tree: PluginTree) -> None:
    tree.plugin("a")
    some_files(tree, "_version.py", "sub/local_settings.py", "secrets.json", "out/code.py")
    tree.write("a/.gitignore", "*.py\n*.json\ndagstack.toml\nout/")
    assert counted(tree) == {"_version.py", "sub/local_settings.py"}
    source, _ = read_plugin(str(tree.root / "a"), str(tree.root), IgnoreRules())
    assert source.files.keys() >= OWN


def test_what_the_manifest_names_counts_although_git_ignores_it(tree: PluginTree) -> None:
    folder = tree.plugin("a", manifest='config_schema = "schema.json"\n')
    some_files(tree, "schema.json", "other.json", "out/index.js", "layout/index.js")
    tree.write("a/.gitignore", "*.json\nout/\nlayout/")
    assert counted(tree) == {"schema.json"}
    text = (folder / "dagstack.toml").read_text()
    (folder / "dagstack.toml").write_text(f'{text}\nmetadata = {{ runs = "./out/index.js" }}\n')
    assert counted(tree) == {"schema.json", "out/index.js"}


def test_the_manifest_has_the_last_word(tree: PluginTree) -> None:
    tree.plugin("a", manifest='ignore = ["/data/", "*.txt", "!keep.csv", "drafts.py"]\n')
    some_files(tree, "rows.csv", "keep.csv", "a.txt", "drafts.py", "data/x", "sub/data/x")
    tree.write("a/.gitignore", "*.csv\n!*.txt")
    assert counted(tree) == {"keep.csv", "sub/data/x"}


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ('[""]', "says nothing"),
        ('["# a comment"]', "says nothing"),
        ('["../other/*.csv"]', "leads out of the plugin's folder"),
        ('["a\\\\"]', "is no pattern"),
        ('"*.csv"', "should be a valid"),
    ],
)
def test_a_pattern_that_is_none_is_a_problem_of_the_manifest(
    tree: PluginTree, value: str, says: str
) -> None:
    folder = tree.plugin("a", manifest=f"ignore = {value}\n")
    with pytest.raises(ManifestInvalid, match="ignore") as caught:
        load_manifest(folder)
    assert says in str(caught.value)


async def test_an_entry_file_that_is_ignored_is_reported_as_such(tree: PluginTree) -> None:
    tree.plugin("a", manifest='ignore = ["*.py"]\n')
    async with serving(tree) as live:
        assert "plugin.py is ignored, by `ignore` here" in str(live.status("a").error)


async def test_both_are_respected_as_they_are_by_now_while_the_server_runs(
    tree: PluginTree,
) -> None:
    folder = tree.plugin("a")
    (tree.root.parent / ".git").mkdir()
    async with serving(tree) as live:

        async def written(name: str) -> bool:
            """Whether the plugin is reloaded for a file of that name."""
            live.forget()
            tree.write(folder / name, name)
            (folder / name).write_text(f"more {name}")
            await live.server.wait_idle()
            return bool(live.of(ReloadCommitted))

        assert await written("first.csv")
        tree.write(".gitignore", "*.csv\nout/")
        await live.settle()
        assert not await written("first.csv")
        assert not await written("out/second.txt")
        assert live.facts == [], "not even a word"
        tree.write("../.gitignore", "*.bin")  # No event tells of what is done above the root.
        live.forget()
        assert not await written("first.bin")
        tree.write("../.gitignore", "")
        assert await written("first.bin")
        tree.write("a/.gitignore", "!*.csv")
        await live.fact(ReloadCommitted)
        assert await written("third.csv")
        tree.plugin("a", manifest='ignore = ["*.csv"]\n')
        await live.settle()
        assert not await written("fourth.csv")
        tree.plugin("a", manifest='ignore = ["!out/"]\n')
        await live.settle()
        assert await written("out/third.txt")
