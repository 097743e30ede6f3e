"""The main playground, on a copy that may be edited, under a running dev server."""

from __future__ import annotations

import asyncio
import shutil
import urllib.error
import urllib.request
from collections.abc import Callable, MutableMapping
from pathlib import Path
from typing import Any

import structlog
from command_runs import GUARD_SECONDS

from dagstack_dev import DevServer, PluginRef, State
from dagstack_dev.core.events import Fact

PLAYGROUND = Path(__file__).parents[2] / "playground"

CONFIG = """\
[store.settings]
path = "{database}"

[store.settings.values]
audience = "world"
site_title = "Playground"

[clock.ticker]
interval_sec = 0.02

[monitor.loop_lag]
warn_after_sec = 0.1

[web.site]
port = 0
"""


class Copy:
    """The plugins of the main playground below `folder`, and a config with free ports and files.

    Attributes:
        plugins: the folder to watch.
        config: the file for `--config`.
    """

    def __init__(self, folder: Path) -> None:
        self.plugins = folder / "plugins"
        self.config = folder / "config.toml"
        copy_tree(PLAYGROUND / "plugins", self.plugins)
        text = CONFIG.format(database=folder / "settings.sqlite3")
        self.config.write_text(text, encoding="utf-8")

    def edit(self, path: str, old: str, new: str) -> Callable[[], None]:
        """Replace `old`, which must be there, in a file of the plugins; call the answer to undo."""
        file = self.plugins / path
        before = file.read_text(encoding="utf-8")
        assert old in before
        file.write_text(before.replace(old, new, 1), encoding="utf-8")

        def undo() -> None:
            file.write_text(before, encoding="utf-8")

        return undo


def copy_tree(source: Path, target: Path) -> None:
    """Copy plugins without what Python left beside them."""
    shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))


async def fetch(url: str) -> tuple[int, str]:
    """The status and the text of a page, by a real client in a thread of its own."""

    def get() -> tuple[int, str]:
        try:
            with urllib.request.urlopen(url, timeout=GUARD_SECONDS) as response:
                return response.status, response.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    return await asyncio.to_thread(get)


class LogBook:
    """A structlog processor that keeps every event and wakes who waits for it, from any thread."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []
        self._loop = asyncio.get_running_loop()
        self._arrived = asyncio.Event()

    def __call__(self, _logger: object, _level: str, event: MutableMapping[str, Any]) -> str:
        self.events.append(dict(event))
        self._loop.call_soon_threadsafe(self._arrived.set)
        raise structlog.DropEvent

    async def next(self, name: str, **fields: object) -> dict[str, Any]:
        """Wait for an event that is logged from now on, with at least these fields."""
        wanted = {"event": name, **fields}.items()
        seen = len(self.events)
        while True:
            for event in self.events[seen:]:
                if wanted <= event.items():
                    return event
            seen = len(self.events)
            self._arrived.clear()
            await self._arrived.wait()

    def last(self, name: str) -> dict[str, Any]:
        """The latest event of that name."""
        return next(event for event in reversed(self.events) if event["event"] == name)


class Playground:
    """The main playground while it runs: its pages, its log and the facts of its server."""

    def __init__(self, server: DevServer, copy: Copy, log: LogBook) -> None:
        self.server = server
        self.edit = copy.edit
        self.plugins = copy.plugins
        self.log = log
        self._facts: list[Fact] = []
        server.registry.observe(self._facts.append)

    async def page(self, path: str) -> str:
        """The text of one page, which must be served."""
        status, text = await fetch(self.log.last("listening")["url"] + path)
        assert status == 200, text
        return text

    async def settled(self) -> list[Fact]:
        """Wait until what is on disk has been dealt with; the answer is what happened."""
        await self.server.wait_idle()
        facts, self._facts[:] = list(self._facts), []
        return facts

    def generations(self) -> dict[str, int]:
        """The generation of every plugin by its printed ref."""
        return {str(ref): status.generation for ref, status in self.server.statuses().items()}

    def down(self) -> dict[str, State]:
        """Every plugin that is not ready, by its printed ref."""
        statuses = self.server.statuses().items()
        return {str(ref): each.state for ref, each in statuses if each.state is not State.READY}

    def error(self, kind: str, name: str) -> BaseException | None:
        """What is the matter with a plugin, or with its newer source."""
        status = self.server.statuses()[PluginRef(kind, name)]
        assert status.pending == (status.error is not None and status.state is State.READY)
        return status.error
