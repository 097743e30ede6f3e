"""What `.gitignore` files and a plugin's manifest leave out of the plugin's folder."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from dagstack_dev.core.manifest_forms import MANIFEST_NAMES, ignored_in
from dagstack_dev.disk.paths import read_regular

if TYPE_CHECKING:
    from collections.abc import Iterable

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
        """Whether they leave out `path`, of a folder with `/` at its end; None: not mentioned."""
        if path not in self._known:
            self._known[path] = self._spec.check_file(path[len(self.base) + 1 :]).include
        return self._known[path]


class FolderRules:
    """What is left out of one plugin's folder.

    That is what git ignores, by the files from its working tree's top (else the root) down, but
    for Python files, manifests and what the manifest names; and what the manifest ignores, which
    has the last word. Where the plugin's folder itself is ignored by git, what stands further up
    says nothing about what is in it.

    Args:
        folder: the plugin's.
        root: the one it was found in.
        manifest: the name of its manifest in force.
        text: what that holds.
    """

    def __init__(self, folder: str, root: str, manifest: str = "", text: bytes = b"") -> None:
        self._folder = folder
        self._text = text
        patterns = ignored_in(manifest, text)
        self._own = (_own(folder, patterns),) if patterns else ()
        self._chains = {"": _around(folder, root) + _at(folder)}
        self._left_out: set[tuple[str, bool]] = set()

    def leaves_out(self, relative: str, *, is_folder: bool) -> bool:
        """Whether what is at `relative` is left out; its folder is not."""
        chain = self._chain(relative.rpartition("/")[0])
        if not chain and not self._own:
            return False
        path = f"{self._folder}/{relative}{'/' if is_folder else ''}"
        if relative in MANIFEST_NAMES:
            return False
        own = _decide(self._own, path)
        if own is not None:
            return own
        if not _decide(chain, path) or (relative.endswith(".py") and not is_folder):
            return False
        self._left_out.add((relative, is_folder))
        return not self._is_named(relative, self._text, is_folder=is_folder)

    def path(self, relative: str) -> bool:
        """Whether what is at `relative` is left out, or a folder that it lies in."""
        parts = relative.split("/")
        above = ("/".join(parts[:count]) for count in range(1, len(parts)))
        if any(self.leaves_out(each, is_folder=True) for each in above):
            return True
        is_folder = os.path.isdir(f"{self._folder}/{relative}")  # noqa: PTH112 - hot path
        return self.leaves_out(relative, is_folder=is_folder)

    def hold_for(self, manifest: str, text: bytes) -> bool:
        """Whether it would leave out the same with this manifest, of what has been asked for."""
        if ignored_in(manifest, text) != ignored_in(manifest, self._text):
            return False
        return all(
            self._is_named(each, text, is_folder=is_folder)
            == self._is_named(each, self._text, is_folder=is_folder)
            for each, is_folder in self._left_out
        )

    def _is_named(self, relative: str, text: bytes, *, is_folder: bool) -> bool:
        end = rb"[/.:]" if is_folder else rb"(?![\w-])"
        return re.search(rb"(?<![\w-])" + re.escape(relative.encode()) + end, text) is not None

    def _chain(self, relative: str) -> tuple[_Patterns, ...]:
        if relative not in self._chains:
            above = self._chain(relative.rpartition("/")[0])
            self._chains[relative] = above + _at(f"{self._folder}/{relative}")
        return self._chains[relative]


def _decide(chain: tuple[_Patterns, ...], path: str) -> bool | None:
    """What the innermost of `chain` says that says anything."""
    decided = (each.leave_out(path) for each in reversed(chain))
    return next((each for each in decided if each is not None), None)


def _around(folder: str, root: str) -> tuple[_Patterns, ...]:
    """The patterns above `folder`; none where they leave out the folder itself."""
    top = _top(folder, root)
    chain: tuple[_Patterns, ...] = ()
    above = top
    for part in folder[len(top) + 1 :].split("/") if folder != top else ():
        chain += _at(above)
        above = f"{above}/{part}"
        if _decide(chain, f"{above}/"):
            return ()
    return chain


@lru_cache(maxsize=1 << 14)
def _top(folder: str, root: str) -> str:
    """Where the working tree begins that `folder` is in; without one, the root."""
    top = folder
    while len(top) > 1:
        if os.path.exists(f"{top}/.git"):  # noqa: PTH110 - hot path
            return top
        top = os.path.dirname(top)  # noqa: PTH120 - hot path
    return root


@lru_cache(maxsize=1 << 10)
def _own(folder: str, patterns: tuple[str, ...]) -> _Patterns:
    return _Patterns(folder, patterns)


def _at(folder: str) -> tuple[_Patterns, ...]:
    """The patterns of the file in `folder`, if there is one."""
    path = f"{folder}/{_NAME}"
    try:
        status = os.stat(path)  # noqa: PTH116 - hot path
    except OSError:
        return ()
    if status.st_size > _LARGEST:
        return ()
    return _read(path, (status.st_ino, status.st_size, status.st_mtime_ns))


@lru_cache(maxsize=1 << 12)
def _read(path: str, stamp: tuple[int, ...]) -> tuple[_Patterns, ...]:  # noqa: ARG001 - the key
    try:
        text = read_regular(path).decode(errors="replace")
    except OSError:
        return ()
    return (_Patterns(path.rpartition("/")[0], text.splitlines()),)
