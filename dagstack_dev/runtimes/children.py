"""Processes that plugins start with `multiprocessing` and that are no copies of this one.

With the start methods spawn and forkserver a new process imports what it is to run, by name. The
names of plugins' modules only our finders know, and they are not there. So such a process gets
further folders at the end of its `sys.path`.
"""

from __future__ import annotations

import shutil
import tempfile
from multiprocessing import spawn
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from dagstack_dev.runtimes.finalizers import when_gone

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

_asked: Final[list[Callable[[], Iterable[str]]]] = []
_original: Final = spawn.get_preparation_data


def serve(folders: Callable[[], Iterable[str]]) -> None:
    """Give new processes what `folders` returns then, until `leave`."""
    if folders not in _asked:
        _asked.append(folders)
    spawn.get_preparation_data = _get_preparation_data


def leave(folders: Callable[[], Iterable[str]]) -> None:
    """Reverse `serve`."""
    if folders in _asked:
        _asked.remove(folders)
    if not _asked and spawn.get_preparation_data is _get_preparation_data:
        spawn.get_preparation_data = _original


def _get_preparation_data(name: str) -> dict[str, Any]:
    data = _original(name)
    further = [folder for each in list(_asked) for folder in each()]
    data["sys_path"] = [*data.get("sys_path", ()), *further]
    return data


class LinkedPackages:
    """A folder in which another process finds packages by the names that they have here."""

    def __init__(self) -> None:
        self._root = ""

    def link(self, folders: Mapping[str, str]) -> str:
        """Make the folder hold a link to each of `folders`, which are by package; return its path.

        It goes when this object does.
        """
        if not self._root:
            self._root = tempfile.mkdtemp(prefix="dagstack-dev-")
            when_gone(self, shutil.rmtree, self._root, ignore_errors=True)
        for package, folder in folders.items():
            link = Path(self._root, *package.split("."))
            link.parent.mkdir(parents=True, exist_ok=True)
            if not link.is_symlink() or str(link.readlink()) != folder:
                link.unlink(missing_ok=True)
                link.symlink_to(folder)
        return self._root
