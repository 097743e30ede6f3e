"""What does not count: the built-in lists, names, and paths with `**`."""

from __future__ import annotations

import shlex

import pytest
from trees import PluginTree

from dagstack_dev.disk.discovery import find_plugins
from dagstack_dev.disk.ignore import IgnoreRules
from dagstack_dev.disk.reading import read_plugin

LEFT_BY = {
    "Python": "__pycache__/plugin.cpython-313.pyc plugin.pyc plugin.pyo tmpk3j_x9ab",
    "git": ".git/index.lock .git plugin_BACKUP_1234.py plugin_LOCAL_1234.py plugin_REMOTE_1.py",
    "Mercurial": ".hg/wlock plugin.py.orig",
    "Subversion": ".svn/wc.db",
    "Jujutsu": ".jj/repo/store",
    "Sapling": ".sl/store",
    "CVS": "CVS/Entries",
    "patch": "plugin.py.orig plugin.py.rej",
    "vim": ".plugin.py.swp .plugin.py.swo plugin.py~ 4913 .plugin.py.un~",
    "Emacs": ".#plugin.py #plugin.py# plugin.py~ plugin.py.~1~",
    "flycheck": "flycheck_plugin.py .flycheck_plugin.py",
    "flymake": "plugin_flymake.py plugin_flymake_1.py",
    "nano": ".plugin.py.swp plugin.py.save plugin.py.save.1",
    "Kate": ".plugin.py.kate-swp plugin.py.aBcDeF",
    "KWrite": "plugin.py~ plugin.py.XkQwpz",
    "gedit": ".goutputstream-A1B2C3 plugin.py~",
    "VS Code": ".vscode/settings.json .history/plugin_2026.py",
    "Visual Studio": ".vs/slnx.sqlite",
    "JetBrains": ".idea/workspace.xml plugin.py___jb_tmp___ plugin.py___jb_old___",
    "Sublime Text": ".subl1a2.tmp a.sublime-workspace",
    "Helix": "plugin.pyAbC123.bck",
    "Kakoune": ".plugin.py.kak.Ab3dEf",
    "micro": "plugin.py.micro-backup",
    "mcedit": ".#plugin.py plugin.py~",
    "Claude Code": "plugin.py.tmp.4711.1735689600000",
    "Zed": ".tmpAbC123 .zed/settings.json",
    "Notepad++": "plugin.py.bak nppBackup/plugin.py.bak",
    "TextEdit": "plugin.py.sb-1a2b3c4d-AbCdEf",
    "LibreOffice": ".~lock.table.ods#",
    "Microsoft Office": "~$table.xlsx",
    "rsync": ".plugin.py.Ab3dEf .~tmp~/plugin.py .rsync-partial/plugin.py",
    "sed -i": "sedAb3dEf",
    "mktemp": "tmp.zu59MEab12 tmpN7eJqzMA",
    "perl -i": "aBcdEfGh plugin.py.bak",
    "curl and browsers": "a.csv.part a.csv.crdownload a.csv.aria2",
    "rclone": "a.csv.1a2b3c4d.partial",
    "WinSCP": "plugin.py.filepart",
    "Syncthing": ".syncthing.plugin.py.tmp plugin.sync-conflict-20260101-1.py .stversions/a.py",
    "Dropbox": ".dropbox .dropbox.attr .dropbox.cache/a 'a (conflicted copy 2026).py'",
    "OneDrive": "~a1b2.tmp",
    "iCloud": ".plugin.py.icloud",
    "Nextcloud": ".sync_1a2b.db-wal .plugin.py.~1a2b",
    "Unison": ".unison.plugin.py.1a2b.unison.tmp",
    "Mutagen": ".mutagen-temporary-1a2b",
    "NFS": ".nfs000000000a1b2c3d00000001",
    "FUSE": ".fuse_hidden0000000100000001",
    "SMB": ".smbdeleteAAA1a2b",
    "macOS": ".DS_Store ._plugin.py .AppleDouble/plugin.py .localized",
    "Windows": "Thumbs.db desktop.ini",
    "KDE": ".directory",
    "pytest": ".pytest_cache/v/cache/lastfailed .benchmarks/1.json .testmondata",
    "coverage": ".coverage .coverage.host.1234.AbCdEf coverage.xml htmlcov/index.html lcov.info",
    "mypy": ".mypy_cache/3.13/plugin.json .dmypy.json",
    "ruff": ".ruff_cache/0.1/1",
    "pytype": ".pytype/a",
    "tox": ".tox/py/bin/python",
    "nox": ".nox/tests/bin/python",
    "hypothesis": ".hypothesis/examples/1",
    "Jupyter": ".ipynb_checkpoints/a-checkpoint.ipynb .~a.ipynb .virtual_documents/a.ipynb",
    "pip": "build/lib/x.py dist/x.whl b.egg-info/PKG-INFO .eggs/a.py lib/site-packages/a.py",
    "venv": ".venv/lib/x.py .venv-3.12/lib/x.py venv/x.py",
    "uv": ".venv/CACHEDIR.TAG uv.lock",
    "PDM": "__pypackages__/3.13/lib/a.py .pdm-build/a",
    "direnv and pixi": ".direnv/python-3.13/bin/python .pixi/envs/default/bin/python",
    "npm": "a/node_modules/x/index.js .npm/_cacache/a",
    "cProfile": "run.prof",
    "SQLite": "data.sqlite3 data.db data.db-wal data.sqlite-journal cache-shm state-wal",
    "DuckDB and LMDB": "a.duckdb a.duckdb.wal data.mdb lock.mdb",
    "logging": "run.log run.log.1",
    "servers": "server.pid server.sock x.tmp x.temp a.lock nohup.out core.1234",
}


@pytest.mark.parametrize("tool", LEFT_BY)
def test_what_tools_editors_and_running_plugins_leave_is_ignored(tool: str) -> None:
    rules = IgnoreRules()
    names = shlex.split(LEFT_BY[tool], comments=False)
    assert [name for name in names if not rules.path(f"p/{name}")] == []


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
        "p/Makefile",
        "p/model.tar.pickle",
        "p/data.csv.sha256",
        "p/jquery.min.svelte",
        "p/_version.py",
        "p/env/x.py",
        "p/base_2.py",
        "p/core.py",
        "p/template.html",
        "p/tmp.py",
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


@pytest.mark.parametrize(("patterns", "left"), [((), {"dist/index.js"}), (("dist",), set())])
def test_outputs_of_build_tools_count_where_the_manifest_names_them(
    tree: PluginTree, patterns: tuple[str, ...], left: set[str]
) -> None:
    folder = tree.plugin("it", manifest='metadata = { runs = "./dist/index.js" }')
    for path in ("dist/index.js", "build/index.js", "sub/dist/index.js"):
        tree.write(folder / path, "1")
    source, _ = read_plugin(str(folder), str(tree.root), IgnoreRules(patterns))
    assert source.files.keys() - {"dagstack.toml", "plugin.py"} == left


def test_virtual_environments_are_never_looked_into_whatever_they_are_called(
    tree: PluginTree,
) -> None:
    folder = tree.plugin("a")
    for place in ("a/env", "a/deep/tools", "py", "conda"):
        tree.write(f"{place}/lib/python3/module.py", "X = 1")
        tree.plugin("inner", folder=f"{place}/inner")
    for place in ("a/env", "a/deep/tools", "py"):
        tree.write(f"{place}/pyvenv.cfg", "home = /usr/bin")
    tree.write("conda/conda-meta/history", "")
    tree.write("a/pyvenv.cfg", "")  # A plugin's own folder is one in any case.
    rules = IgnoreRules()
    assert list(find_plugins(str(tree.root), rules)) == [str(folder)]
    source, _ = read_plugin(str(folder), str(tree.root), rules)
    assert source.files.keys() == {"dagstack.toml", "plugin.py", "pyvenv.cfg"}
    assert rules.path("a/env/lib/python3/new.py")
    assert rules.path("py/lib/python3/new.py")
    assert not rules.path("a/environment.py")
    assert not rules.path("a/new.py")
    (folder / "env" / "pyvenv.cfg").unlink()
    source, _ = read_plugin(str(folder), str(tree.root), rules)
    assert "env/lib/python3/module.py" in source.files
    assert not rules.path("a/env/lib/python3/module.py")
