"""Links to folders and files: where they lead, and what no event tells of what is behind them."""

from __future__ import annotations

import os
from time import perf_counter
from typing import TYPE_CHECKING, Final

import anyio
import anyio.to_thread

from dagstack_dev.disk.ignore import IgnoreRules
from dagstack_dev.disk.paths import lies_in
from dagstack_dev.disk.reading import Stamp, stamp_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

LOOK_SECONDS: Final = 0.1
"""The shortest rest between two looks at what is behind links to files."""

REST_PER_LOOK: Final = 200
"""How many times as long as a look took is rested from: half a percent of a core at most."""

_RULES: Final = IgnoreRules()


class Links:
    """The links to folders that have come since the start, and where they lead."""

    def __init__(self) -> None:
        self._targets: dict[str, tuple[int, int]] = {}

    def have_moved(self, folder: str, paths: Iterable[str]) -> bool:
        """Whether one of `paths`, below `folder`, is a link that leads to another folder now."""
        moved = False
        for path in paths:
            if not os.path.islink(path) or not os.path.isdir(path):  # noqa: PTH112, PTH114 - many
                continue
            target = identity_of(path)
            if target is not None and self._targets.get(path) != target:
                self._targets[path] = target
                moved = moved or not _RULES.folders(path[len(folder) + 1 :])
        return moved


class LinkedFiles:
    """Looks at the files behind links, for the system reports an edit only where the file lies.

    That may be anywhere, behind any number of further links, each of which may come to lead
    elsewhere. To ask for each file is cheaper than to watch all of that.

    Args:
        links: the links, each with the stamp of what was read there; None where was nothing.
        on_paths: called with those links behind which something has changed, on the loop's thread.
    """

    def __init__(
        self,
        links: Callable[[], Mapping[str, Stamp | None]],
        on_paths: Callable[[set[str]], None],
    ) -> None:
        self._links = links
        self._on_paths = on_paths
        self._seen: dict[str, Stamp | None] = {}

    async def run(self) -> None:
        """Look until cancelled; each look that takes its time runs in a thread."""
        took = 0.0
        while True:
            await anyio.sleep(max(LOOK_SECONDS, took * REST_PER_LOOK))
            began = perf_counter()
            links = self._links()
            now = await anyio.to_thread.run_sync(_stamps, links) if links else {}
            took = perf_counter() - began
            changed = {
                path for path, stamp in now.items() if stamp != self._seen.get(path, links[path])
            }
            self._seen = now
            if changed:
                self._on_paths(changed)


def _stamps(paths: Iterable[str]) -> dict[str, Stamp | None]:
    return {path: stamp_of(path) for path in paths}


def behind_links(folder: str, paths: set[str]) -> set[str]:
    """Where those of `paths` really are that lie behind links below `folder`.

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
    """What tells a folder from one that takes its place; None when there is nothing."""
    try:
        status = os.stat(folder)  # noqa: PTH116 - asked four times a second
    except OSError:
        return None
    return status.st_dev, status.st_ino
