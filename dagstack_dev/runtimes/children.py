"""Processes that plugins start with `multiprocessing` and that are no copies of this one.

With the start methods spawn and forkserver a new process imports what it is to run, by name. The
names of plugins' modules only our finders know, and they are not there. So such a process gets
further folders at the end of its `sys.path`.
"""

from __future__ import annotations

from multiprocessing import spawn
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_asked: Final[list[Callable[[], Iterable[str]]]] = []
_original: Final = spawn.get_preparation_data


def serve(folders: Callable[[], Iterable[str]]) -> None:
    """Give new processes what `folders` returns then, until `leave`."""
    if folders not in _asked:
        _asked.append(folders)
    spawn.get_preparation_data = _get_preparation_data


def leave(folders: Callable[[], Iterable[str]]) -> None:
    """The reverse of `serve`."""
    if folders in _asked:
        _asked.remove(folders)
    if not _asked and spawn.get_preparation_data is _get_preparation_data:
        spawn.get_preparation_data = _original


def _get_preparation_data(name: str) -> dict[str, Any]:
    data = _original(name)
    further = [folder for each in list(_asked) for folder in each()]
    data["sys_path"] = [*data.get("sys_path", ()), *further]
    return data
