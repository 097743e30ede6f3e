"""Which files and folders do not count."""

from __future__ import annotations

import re
from fnmatch import translate
from functools import lru_cache
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

DEFAULT_IGNORE: Final = frozenset(
    {
        # The contract's (section 3), and the caches of today's tools.
        "__pycache__",
        ".venv",
        ".venv-*",
        "venv",
        ".tox",
        ".nox",
        ".mypy_cache",
        ".pytest_cache",
        ".ruff_cache",
        ".hypothesis",
        "*.egg-info",
        "build",
        "dist",
        ".git",
        ".hg",
        ".svn",
        ".idea",
        ".vscode",
        "node_modules",
        # Installed packages, and what package managers keep.
        "site-packages",
        "__pypackages__",
        ".direnv",
        ".devenv",
        ".pixi",
        "*.dist-info",
        ".eggs",
        ".pdm-build",
        ".npm",
        ".pnpm-store",
        # Caches and reports.
        ".cache",
        ".benchmarks",
        ".import_linter_cache",
        ".ipynb_checkpoints",
        ".virtual_documents",
        ".pytype",
        ".pyre",
        ".ropeproject",
        "htmlcov",
        # Version control, editors and their histories.
        ".jj",
        ".sl",
        ".bzr",
        "CVS",
        ".history",
        ".vs",
        ".zed",
        "nppBackup",
        # What file systems and programs that synchronize keep.
        ".AppleDouble",
        ".Trash-*",
        "@eaDir",
        ".stfolder",
        ".stversions",
        ".dropbox.cache",
        ".~tmp~",
        ".rsync-partial",
    }
)
"""Names of folders in which nothing is source."""

OUTPUT_FOLDERS: Final = ("build", "dist")
"""Of these, where build tools write: they count where a plugin's manifest names them."""

_ENVIRONMENT_MARKS: Final = frozenset({"pyvenv.cfg", "conda-meta"})
"""What the top folder of a virtual environment holds, whatever its name."""

IGNORED_FILES: Final = (
    "*.py[cod]",
    # What editors leave while they save.
    ".*.sw[a-z]",
    "*~",
    ".#*",
    "#*#",
    "4913",
    "*.bak",
    "*.bck",
    "*.save",
    "*.save.[0-9]*",
    "*.orig",
    "*___jb_tmp___",
    "*___jb_old___",
    "*.kate-swp",
    "*.micro-backup",
    "*.sb-????????-??????",
    "*.sublime-workspace",
    ".goutputstream-*",
    ".~*",
    ".*.~*",
    "~$*",
    "flycheck_*",
    ".flycheck_*",
    "*_flymake.*",
    "*_flymake_*",
    # Version control.
    ".git",
    "*.rej",
    "*_BACKUP_[0-9]*",
    "*_BASE_[0-9]*",
    "*_LOCAL_[0-9]*",
    "*_REMOTE_[0-9]*",
    # File systems, and what copies and synchronizes files.
    ".DS_Store",
    "._*",
    ".nfs[0-9a-f]*",
    ".fuse_hidden*",
    ".smbdelete*",
    ".directory",
    ".localized",
    "desktop.ini",
    "*.part",
    "*.partial",
    "*.filepart",
    "*.crdownload",
    "*.aria2",
    "*.icloud",
    "*.sync-conflict-*",
    "* (conflicted copy *",
    "* conflicted copy *",
    ".dropbox",
    ".dropbox.attr",
    ".sync_*",
    ".unison.*",
    ".mutagen-temporary-*",
    # What tools for Python write.
    ".coverage",
    ".coverage.*",
    "coverage.xml",
    "coverage.json",
    "lcov.info",
    ".dmypy.json",
    ".testmondata*",
    "*.prof",
    # What a running plugin writes.
    "*.log",
    "*.log.*",
    "*.tmp",
    "*.tmp.[0-9]*",
    "*.temp",
    ".tmp*",
    "*.pid",
    "*.lock",
    "*.sock",
    "*.db",
    "*.db-*",
    "*.sqlite",
    "*.sqlite-*",
    "*.sqlite3",
    "*.sqlite3-*",
    "*.duckdb",
    "*.mdb",
    "*.wal",
    "*-journal",
    "*-wal",
    "*-shm",
    "nohup.out",
    "core.[0-9]*",
)
"""Files that tools and running plugins write; none of them is source."""

_RANDOM_NAMES: Final = (
    # rsync, Qt, Kakoune and whatever else appends six random characters to a file's name.
    r".*\.\w+\.(?=.*[A-Z])[A-Za-z0-9]{6}\Z",
    r"sed[A-Za-z0-9]{6}\Z",
    # Python's tempfile, and mktemp.
    r"tmp(?:[a-z0-9_]{8}|\.[A-Za-z0-9]{6,10}|(?=.*[A-Z])[A-Za-z0-9]{6,10})\Z",
    r"(?=.*[a-z].*[A-Z])[A-Za-z0-9_]{8}\Z",  # perl -i; `Makefile` is none.
)
"""Regular expressions for the temporary files of tools that draw their names."""


class IgnoreRules:
    """The rules by which a path below a root counts or not.

    Args:
        patterns: globs that are ignored besides the built-in ones. A pattern without `/` is held
            against every file and folder name; one with `/` against the path relative to the
            root, where `*` and `?` stay within one name and `**` spans any number of folders.
        gitignore: whether what git ignores does not count either.
    """

    def __init__(self, patterns: Iterable[str] = (), *, gitignore: bool = True) -> None:
        self.gitignore = gitignore
        extra = [pattern.rstrip("/") for pattern in patterns]
        names = [pattern for pattern in extra if "/" not in pattern]
        paths = [pattern.strip("/") for pattern in extra if "/" in pattern]
        self._folder = _any_of(map(translate, (*sorted(DEFAULT_IGNORE), *names)))
        self._named = _any_of(map(translate, names)) if names else None
        self._environments: set[str] = set()
        self._file = _any_of((*map(translate, (*IGNORED_FILES, *names)), *_RANDOM_NAMES))
        self._path = _any_of(map(_translate_path, paths)) if paths else None

    def folder(self, name: str, relative: str) -> bool:
        """Return whether the folder `name`, at `relative` below its root, is left out."""
        return self._folder(name) or (self._path is not None and self._path(relative))

    def is_environment(self, relative: str, names: Iterable[str]) -> bool:
        """Return whether the folder at `relative`, with `names` in it, is a virtual environment.

        Noted, so that what happens in it later does not count either.
        """
        found = not _ENVIRONMENT_MARKS.isdisjoint(names)
        if found:
            self._environments.add(relative)
        else:
            self._environments.discard(relative)
        return found

    def is_known_environment(self, relative: str) -> bool:
        """Return whether the folder at `relative` was a virtual environment at the last look."""
        return relative in self._environments

    def file(self, name: str, relative: str) -> bool:
        """Return whether the file `name`, at `relative` below its root, is left out."""
        return self._file(name) or (self._path is not None and self._path(relative))

    def path(self, relative: str) -> bool:
        """Return whether `relative`, a file's or a folder's, is left out by any of its parts."""
        return self.folders(relative) or self.file(relative.rpartition("/")[2], relative)

    def excludes(self, relative: str) -> bool:
        """Return whether `relative` is left out by a pattern of the user, not a built-in one.

        Code that is imported counts wherever it lies, but for that.
        """
        parts = relative.split("/")
        if self._named is not None and any(map(self._named, parts)):
            return True
        above = ("/".join(parts[:count]) for count in range(1, len(parts) + 1))
        return self._path is not None and any(map(self._path, above))

    def folders(self, relative: str) -> bool:
        """Return whether the folder at `relative`, or one that it lies in, is left out."""
        above = ""
        for part in relative.split("/"):
            above = f"{above}/{part}" if above else part
            if self.folder(part, above) or self.is_known_environment(above):
                return True
        return False


def _any_of(patterns: Iterable[str]) -> Callable[[str], bool]:
    """Make a test for whether a text matches any of `patterns`, with a cache: names recur."""
    match = re.compile("|".join(f"(?:{pattern})" for pattern in patterns)).match

    @lru_cache(maxsize=1 << 14)
    def matches(text: str) -> bool:
        return match(text) is not None

    return matches


def _translate_path(pattern: str) -> str:
    """Translate a glob over a whole path into a regular expression."""
    parts = pattern.split("/")
    regex = ""
    for index, part in enumerate(parts):
        last = index == len(parts) - 1
        if part == "**":
            regex += ".*" if last else "(?:[^/]+/)*"
        else:
            for char in part:
                regex += {"*": "[^/]*", "?": "[^/]"}.get(char, re.escape(char))
            regex += "" if last else "/"
    return rf"(?s:{regex})\Z"
