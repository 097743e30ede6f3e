"""What of a plugin's folder is no source of it, by `.gitignore` files and its manifest, too."""

from __future__ import annotations

import itertools
import os
import re
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

from dagstack_dev.core.manifest_forms import MANIFEST_NAMES, ignored_in
from dagstack_dev.disk.ignore import OUTPUT_FOLDERS
from dagstack_dev.disk.paths import below, git_folder, read_regular

if TYPE_CHECKING:
    from collections.abc import Iterable

    from dagstack_dev.disk.ignore import IgnoreRules

_NAME: Final = ".gitignore"

_LARGEST: Final = 1 << 16
"""Bytes of such a file from which it is passed over: its patterns would take seconds."""


class _Patterns:
    """Lines in the syntax of `.gitignore`; a line that is no pattern is passed over, as git does.

    Args:
        base: the folder that they are relative to.
        lines: the patterns.
    """

    def __init__(self, base: str, lines: Iterable[str]) -> None:
        from pathspec import GitIgnoreSpec  # noqa: PLC0415 - most plugins need none of it

        self.base = base
        self._spec = GitIgnoreSpec([])
        for line in lines:
            with suppress(ValueError):
                self._spec += GitIgnoreSpec.from_lines([line])
        self._known: dict[str, bool | None] = {}

    def leave_out(self, path: str) -> bool | None:
        """Return whether they leave out `path`, with `/` at the end of a folder; None: no word."""
        if path not in self._known:
            self._known[path] = self._spec.check_file(path[len(self.base) + 1 :]).include
        return self._known[path]


class FolderRules:
    """What of one plugin's folder is no source of it.

    That is what is ignored everywhere, and what git ignores, by the files from its working tree's
    top (else the root) down and by `.git/info/exclude`, but for Python files and manifests. What
    the manifest names counts, as the place of what it starts: in the folders of build tools, and
    although git ignores it. What the manifest ignores, or does not, has the last word over git.
    Where the plugin's folder itself is ignored by git, what stands further up says nothing about
    what is in it.

    Args:
        folder: the plugin's.
        root: the one it was found in.
        ignore: what is ignored everywhere.
        manifest: the name of the manifest in force.
        text: what that holds.
    """

    def __init__(
        self, folder: str, root: str, ignore: IgnoreRules, manifest: str, text: bytes
    ) -> None:
        self.folder = folder
        self._ignore = ignore
        self._above = below(root, f"{folder}/")
        self._text = text
        patterns = ignored_in(manifest, text)
        self._own = (_own(folder, patterns),) if patterns else ()
        self._chains = {"": _around(folder, root) + _at(folder) if ignore.gitignore else ()}

    def leaves_out(self, relative: str, *, is_folder: bool) -> bool:
        """Return whether what is at `relative` is left out; the folder that it lies in is not."""
        name = relative.rpartition("/")[2]
        place = self._above + relative
        if not is_folder and self._ignore.file(name, place):
            return True
        if is_folder and self._ignore.folder(name, place):
            is_output = name in OUTPUT_FOLDERS and not self._ignore.excludes(place)
            return not (is_output and self._is_named(relative, is_folder=True))
        return self._is_left_out(relative, is_folder=is_folder)

    def _is_left_out(self, relative: str, *, is_folder: bool) -> bool:
        chain = self._chain(relative.rpartition("/")[0])
        if relative in MANIFEST_NAMES or not (chain or self._own):
            return False
        path = f"{self.folder}/{relative}{'/' if is_folder else ''}"
        own = _decide(self._own, path)
        if own is not None:
            return own
        if not _decide(chain, path) or (relative.endswith(".py") and not is_folder):
            return False
        return not self._is_named(relative, is_folder=is_folder)

    def is_environment(self, relative: str, names: Iterable[str]) -> bool:
        """Return whether the folder at `relative`, with `names` in it, is a virtual environment."""
        return self._ignore.is_environment(self._above + relative, names)

    def path(self, relative: str) -> bool:
        """Return whether what is at `relative` is left out, or a folder that it lies in."""
        parts = relative.split("/")
        for above in itertools.accumulate(parts[:-1], "{}/{}".format):
            if self._ignore.is_known_environment(self._above + above):
                return True
            if self.leaves_out(above, is_folder=True):
                return True
        is_folder = os.path.isdir(f"{self.folder}/{relative}")  # noqa: PTH112 - hot path
        return self.leaves_out(relative, is_folder=is_folder)

    def _is_named(self, relative: str, *, is_folder: bool) -> bool:
        """Return whether the manifest's text has that path."""
        end = rb"[/.:]" if is_folder else rb"(?![\w-])"
        named = rb"(?<![\w-])" + re.escape(relative.encode(errors="surrogateescape")) + end
        return re.search(named, self._text) is not None

    def _chain(self, relative: str) -> tuple[_Patterns, ...]:
        if relative not in self._chains:
            above = self._chain(relative.rpartition("/")[0])
            inside = _at(f"{self.folder}/{relative}") if self._ignore.gitignore else ()
            self._chains[relative] = above + inside
        return self._chains[relative]


def _decide(chain: tuple[_Patterns, ...], path: str) -> bool | None:
    """Return what the innermost of `chain` says that says anything."""
    decided = (each.leave_out(path) for each in reversed(chain))
    return next((each for each in decided if each is not None), None)


def _around(folder: str, root: str) -> tuple[_Patterns, ...]:
    """Return the patterns above `folder`; none where they leave out the folder itself."""
    top = _top(folder, root)
    exclude = _exclude_file(top)
    chain = _patterns_in(exclude, top) if exclude is not None else ()
    above = top
    for part in folder[len(top) + 1 :].split("/") if folder != top else ():
        chain += _at(above)
        above = f"{above}/{part}"
        if _decide(chain, f"{above}/"):
            return ()
    return chain


def _top(folder: str, root: str) -> str:
    """Return where the working tree begins that `folder` is in; without one, the root."""
    return _working_tree(folder) or root


@lru_cache(maxsize=1 << 14)
def _working_tree(folder: str) -> str | None:
    if len(folder) <= 1:
        return None
    if os.path.exists(f"{folder}/.git"):  # noqa: PTH110 - hot path
        return folder
    return _working_tree(os.path.dirname(folder))  # noqa: PTH120 - hot path


@lru_cache(maxsize=1 << 10)
def _exclude_file(top: str) -> str | None:
    """Return where the repository of a working tree says what it ignores besides."""
    git = git_folder(Path(top))
    if git is None:
        return None
    with suppress(OSError):  # One of several working trees names the folder that they share.
        git /= (git / "commondir").read_text(encoding="utf-8").strip()
    return str(git / "info" / "exclude")


@lru_cache(maxsize=1 << 10)
def _own(folder: str, patterns: tuple[str, ...]) -> _Patterns:
    return _Patterns(folder, patterns)


def _at(folder: str) -> tuple[_Patterns, ...]:
    """Return the patterns of the `.gitignore` in `folder`, if there is one."""
    return _patterns_in(f"{folder}/{_NAME}", folder)


def _patterns_in(path: str, base: str) -> tuple[_Patterns, ...]:
    """Return the patterns of the file at `path`, if there is one; relative to `base`."""
    try:
        status = os.stat(path)  # noqa: PTH116 - hot path
    except OSError:
        return ()
    if status.st_size > _LARGEST:
        return ()
    return _read(path, base, (status.st_ino, status.st_size, status.st_mtime_ns))


@lru_cache(maxsize=1 << 12)
def _read(path: str, base: str, stamp: tuple[int, ...]) -> tuple[_Patterns, ...]:  # noqa: ARG001 - the key
    try:
        text = read_regular(path).decode(errors="replace")
    except OSError:
        return ()
    lines = [line for line in text.splitlines() if line.strip() and line[0] != "#"]
    return (_Patterns(base, lines),) if lines else ()
