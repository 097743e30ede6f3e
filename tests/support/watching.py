"""A running watcher and what it reported, for tests."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
from command_runs import GUARD_SECONDS

from dagstack_dev.disk.ignore import IgnoreRules
from dagstack_dev.disk.snapshot import Snapshot
from dagstack_dev.disk.sweep import Sweep
from dagstack_dev.disk.watcher import Watcher


class Reports:
    """Collects what a watcher reports; `until` waits for it."""

    def __init__(self) -> None:
        self.paths: set[str] = set()
        self.problems: list[tuple[str, str]] = []
        self.recovered: list[tuple[str, str]] = []
        self._news = anyio.Event()

    def on_paths(self, paths: set[str]) -> None:
        self.paths |= paths
        self._tell()

    def on_problem(self, path: str, message: str, /, *, is_gone: bool = False) -> None:
        self.problems.append((path, message))
        self._tell()

    def on_recovered(self, path: str, message: str) -> None:
        self.recovered.append((path, message))
        self._tell()

    def _tell(self) -> None:
        self._news.set()
        self._news = anyio.Event()

    async def until(self, *paths: str | Path) -> None:
        """Wait until all of `paths` have been reported."""
        wanted = {str(path) for path in paths}
        with anyio.fail_after(GUARD_SECONDS):
            while not wanted <= self.paths:
                await self._news.wait()

    async def until_problem(self, part: str) -> str:
        """Wait for a problem whose message holds `part`, and return the message."""
        with anyio.fail_after(GUARD_SECONDS):
            while True:
                for _, message in self.problems:
                    if part in message:
                        return message
                await self._news.wait()

    async def until_recovered(self, message: str) -> None:
        """Wait until some problem is reported to be over in these words."""
        with anyio.fail_after(GUARD_SECONDS):
            while message not in {each for _, each in self.recovered}:
                await self._news.wait()

    def forget(self) -> None:
        self.paths.clear()
        self.problems.clear()


@asynccontextmanager
async def watching(
    *folders: Path, single: Iterable[Path] = (), polling: bool = False
) -> AsyncIterator[Reports]:
    """Watch `folders` while the block runs."""
    reports = Reports()
    snapshot = Snapshot([*map(str, folders)], IgnoreRules())
    snapshot.look().folders.clear()
    sweep = Sweep(snapshot, seconds=60 * GUARD_SECONDS, on_paths=reports.on_paths)
    watcher = Watcher(
        folders=map(str, folders),
        single=map(str, single),
        step_ms=10,
        polling=polling,
        sweep=sweep,
        on_paths=reports.on_paths,
        on_problem=reports.on_problem,
        on_recovered=reports.on_recovered,
    )
    async with anyio.create_task_group() as group:
        with anyio.fail_after(GUARD_SECONDS):
            await group.start(watcher.run)
        group.start_soon(sweep.run)
        yield reports
        group.cancel_scope.cancel()
