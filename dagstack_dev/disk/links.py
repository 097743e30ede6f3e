"""Links to folders: where they lead."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from dagstack_dev.disk.ignore import IgnoreRules
from dagstack_dev.disk.paths import lies_in

if TYPE_CHECKING:
    from collections.abc import Iterable

_RULES: Final = IgnoreRules()


class Links:
    """The links to folders that have come since the start, and where they lead."""

    def __init__(self) -> None:
        self._targets: dict[str, tuple[int, int]] = {}

    def have_moved(self, folder: str, paths: Iterable[str]) -> bool:
        """Return whether one of `paths`, below `folder`, is a link to another folder by now."""
        moved = False
        for path in paths:
            if not os.path.islink(path) or not os.path.isdir(path):  # noqa: PTH112, PTH114 - many
                continue
            target = identity_of(path)
            if target is not None and self._targets.get(path) != target:
                self._targets[path] = target
                moved = moved or not _RULES.folders(path[len(folder) + 1 :])
        return moved


def behind_links(folder: str, paths: set[str]) -> set[str]:
    """Return where those of `paths` really are that lie behind links below `folder`.

    The system watches a folder once, whatever the number of links to it, and reports it by the
    path that happened to be added last.
    """
    base = os.path.realpath(folder)
    real: set[str] = set()
    for parent in {os.path.dirname(path) for path in paths if path != folder}:  # noqa: PTH120
        target = os.path.realpath(parent)
        if target == base + parent[len(folder) :]:
            continue
        if lies_in(target, [base]):
            target = folder + target[len(base) :]
        names = (path[len(parent) :] for path in paths if os.path.dirname(path) == parent)  # noqa: PTH120
        real.update(target + name for name in names)
    return real


def identity_of(folder: str) -> tuple[int, int] | None:
    """Return what identifies a folder, and not one that takes its place; None if it is gone."""
    try:
        status = os.stat(folder)  # noqa: PTH116 - asked four times a second
    except OSError:
        return None
    return status.st_dev, status.st_ino
