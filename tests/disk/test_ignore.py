"""What does not count: the built-in lists, names, and paths with `**`."""

from __future__ import annotations

import pytest

from dagstack_dev.disk.ignore import IgnoreRules


@pytest.mark.parametrize(
    "path",
    [
        "p/__pycache__/plugin.cpython-313.pyc",
        "p/plugin.pyc",
        "p/plugin.pyo",
        ".git/index.lock",
        ".venv/lib/x.py",
        ".venv-3.12/lib/x.py",
        "venv/x.py",
        "a/node_modules/x/index.js",
        "a/b.egg-info/PKG-INFO",
        "build/lib/x.py",
        "p/.plugin.py.swp",
        "p/plugin.py~",
        "p/.#plugin.py",
        "p/#plugin.py#",
        "p/4913",
        "p/plugin.py.bak",
        "p/plugin.py___jb_tmp___",
        "p/.DS_Store",
        "p/run.log",
        "p/run.log.1",
        "p/data.sqlite3",
        "p/data.db-wal",
        "p/data.sqlite-journal",
        "p/x.tmp",
        "p/server.pid",
        "p/server.sock",
    ],
)
def test_what_tools_editors_and_running_plugins_leave_is_ignored(path: str) -> None:
    assert IgnoreRules().path(path)


@pytest.mark.parametrize(
    "path",
    [
        "p/plugin.py",
        "p/dagstack.toml",
        "p/templates/page.html",
        "p/data.json",
        "p/.env",
        "p/logs.py",
        "p/builder/x.py",
        "p/distance.py",
        "p/git/x.py",
        "p/database.py",
    ],
)
def test_what_a_plugin_is_made_of_counts(path: str) -> None:
    assert not IgnoreRules().path(path)


@pytest.mark.parametrize(
    ("pattern", "path", "ignored"),
    [
        ("old", "old/x.py", True),
        ("old", "a/old/x.py", True),
        ("old", "a/older/x.py", False),
        ("old/", "a/old/x.py", True),
        ("old-*", "a/old-1/x.py", True),
        ("*.csv", "a/b/data.csv", True),
        ("data.?", "a/data.1", True),
        ("data.?", "a/data.10", False),
        ("experimental/*", "experimental/a", True),
        ("experimental/*", "experimental/a/x.py", True),
        ("experimental/*", "other/experimental/a", False),
        ("experimental/*.py", "experimental/a/x.py", False),
        ("/top", "top/x.py", True),
        ("/top", "a/top/x.py", False),
        ("**/drafts", "drafts/x.py", True),
        ("**/drafts", "a/b/drafts/x.py", True),
        ("a/**/drafts", "a/drafts", True),
        ("a/**/drafts", "a/b/c/drafts", True),
        ("a/**/drafts", "b/drafts", False),
        ("a/**", "a/b/c.py", True),
        ("a/**", "a", False),
        ("a/**", "ab/c.py", False),
        ("a/b?/x", "a/bc/x", True),
        ("a/b?/x", "a/b/x", False),
        ("a.b/c", "axb/c", False),
    ],
)
def test_further_patterns(pattern: str, path: str, ignored: bool) -> None:
    assert IgnoreRules([pattern]).path(path) is ignored


def test_patterns_add_to_the_built_in_ones() -> None:
    rules = IgnoreRules(["*.csv"])
    assert rules.file("x.log", "x.log")
    assert rules.file("x.csv", "x.csv")


def test_a_folder_with_the_name_of_an_ignored_file_still_counts() -> None:
    rules = IgnoreRules()
    assert not rules.folder("cache.db", "cache.db")
    assert not rules.folders("cache.db/sub")
    assert not rules.path("cache.db/plugin.py")
    assert rules.folders("cache.db/build")
    assert rules.folders("build/cache.db")


def test_outputs_of_build_tools_count_where_they_are_named_and_nobody_minds() -> None:
    rules = IgnoreRules()
    assert rules.keep("tools/it", frozenset({"dist"}))
    assert not rules.path("tools/it/dist/index.js")
    assert rules.path("tools/it/build/index.js")
    assert rules.path("tools/it/src/dist/index.js")
    assert rules.path("tools/other/dist/index.js")
    assert not rules.keep("tools/it", frozenset({"dist"}))
    assert rules.keep("tools/it", frozenset())
    assert rules.path("tools/it/dist/index.js")
    told = IgnoreRules(["dist"])
    told.keep("tools/it", frozenset({"dist"}))
    assert told.path("tools/it/dist/index.js")
