"""Reports tasks that plugins have made by hand, and whose failure nothing has noticed.

asyncio reports such a task when it is collected: never, while the plugin keeps it.
"""

from __future__ import annotations

import asyncio
from asyncio import tasks as registered
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakKeyDictionary

import anyio

from dagstack_dev.core.blame import plugin_frames
from dagstack_dev.core.events import TaskFailed
from dagstack_dev.core.recorded import recorded
from dagstack_dev.host.calls.current import current_plugin

if TYPE_CHECKING:
    from dagstack_dev.core.refs import PluginRef
    from dagstack_dev.host.plugins.table import PluginTable

_LOOK_SECONDS: Final = 0.4
"""How often tasks are looked at. So long one may wait for being awaited."""

_LOOKS: Final = 2
"""How many times a task has to be found before it is reported."""

_REST_PER_WORK: Final = 1000
"""With many tasks, looks are as seldom as it takes to stay at 0.1 % of a core."""


class UnattendedTasks:
    """Looks at the tasks of the running event loop now and then, without touching those of the app.

    A task factory or a callback would see each task at once, but be in the way of the app, which
    the loop belongs to.

    Args:
        table: of the plugins; its observers get the reports.
    """

    def __init__(self, table: PluginTable) -> None:
        self._table = table
        self._looks: WeakKeyDictionary[asyncio.Task[Any], int] = WeakKeyDictionary()

    async def run(self) -> None:
        """Look until cancelled. On trio there are no such tasks."""
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return
        rest = _LOOK_SECONDS
        while True:
            await anyio.sleep(rest)
            began = perf_counter()
            self._look(loop)
            rest = max(_LOOK_SECONDS, (perf_counter() - began) * _REST_PER_WORK)

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        for task in _every_task():
            if task.done() and _has_failed_unnoticed(task) and task.get_loop() is loop:
                self._looks[task] = looks = self._looks.get(task, 0) + 1
                if looks == _LOOKS:
                    self._report(task)

    def _report(self, task: asyncio.Task[Any]) -> None:
        error = task._exception  # noqa: SLF001 - `exception()` counts as having noticed
        if error is None:
            return
        ref = self._owner(task, error)
        if ref is not None:
            task.exception()  # Else asyncio reports it too, when the task is collected.
            self._table.publish(TaskFailed(ref=ref, task=task.get_name(), error=recorded(error)))

    def _owner(self, task: asyncio.Task[Any], error: BaseException) -> PluginRef | None:
        """Return the plugin that the task is of: by the code that it runs, else by its context."""
        code = getattr(task.get_coro(), "cr_code", None)
        paths = [*(each.path for each in plugin_frames(error)), getattr(code, "co_filename", "")]
        owners = (self._table.code.plugin_at(path) for path in reversed(paths))
        found = next((ref for ref in owners if ref is not None), None)
        if found is None and hasattr(task, "get_context"):  # Python 3.12.
            found = task.get_context().get(current_plugin)
        return found


def _every_task() -> list[asyncio.Task[Any]]:
    """Return the tasks of every loop; `asyncio.all_tasks` would leave out those that are done."""
    found: list[asyncio.Task[Any]] = []
    for name in ("_all_tasks", "_scheduled_tasks"):  # Python 3.11, and from 3.12 on.
        try:
            found += getattr(registered, name, ())
        except RuntimeError:  # Another thread has made one in this moment.
            continue
    return found


def _has_failed_unnoticed(task: asyncio.Task[Any]) -> bool:
    """Return whether a task has raised, and what it raised was never asked for."""
    return bool(getattr(task, "_log_traceback", False))
