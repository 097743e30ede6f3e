"""Waiting for git to finish."""

from __future__ import annotations

import os
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Final

import anyio

if TYPE_CHECKING:
    from collections.abc import Iterable

_LOOK_SECONDS: Final = 0.01


class GitLocks:
    """The index locks of the repositories that some folders lie in.

    git holds one while it changes the work tree, so that a branch switch shows as one change.
    """

    def __init__(self, folders: Iterable[str]) -> None:
        found = (_git_folder(Path(folder)) for folder in folders)
        self._locks = tuple({str(path / "index.lock") for path in found if path is not None})

    async def released(self, deadline: float) -> bool:
        """Wait until no lock is held, at most until `deadline` on the clock `perf_counter`.

        Returns:
            Whether one was held, so that more may have been written meanwhile.
        """
        held = False
        while any(map(os.path.exists, self._locks)) and perf_counter() < deadline:
            # git tells nobody that it has let go; a look every 10 ms is all there is.
            held = True
            await anyio.sleep(_LOOK_SECONDS)
        return held


def _git_folder(folder: Path) -> Path | None:
    """Where the repository around `folder` keeps its index."""
    for parent in (folder, *folder.parents):
        git = parent / ".git"
        if git.is_dir():
            return git
        if git.is_file():  # A work tree or submodule: the file names the folder.
            try:
                text = git.read_text(encoding="utf-8")
            except (OSError, UnicodeDecodeError):
                return None
            return (parent / text.removeprefix("gitdir:").strip()).resolve()
    return None
