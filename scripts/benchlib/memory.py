"""What ten thousand reloads leave in memory."""

from __future__ import annotations

import gc
import logging
import sys
import tempfile
import weakref
from pathlib import Path
from typing import Any, Final

import anyio
import structlog

from dagstack_dev import DevServer, PluginLeaked, unwrap
from scripts.benchlib.report import Table, say

FULL: Final = 10_000
QUICK: Final = 1_000

WARM_UP: Final = 200
"""Reloads after which every cache has what it will ever have."""

_MANIFEST: Final = """\
[plugin]
name = "reloaded"
kind = "bench"
core_version = ">=0.1.0,<1.0.0"
runtime = "in_process"
entry_point = "plugin:Plugin"
"""

_CODE: Final = '''\
"""A plugin with a task, a logger and annotations, saved for the {value}th time."""

import asyncio
import logging
from dataclasses import dataclass
from typing import Optional

log = logging.getLogger(__name__)


@dataclass
class Part:
    name: str
    next: Optional["Part"] = None


class Plugin:
    async def setup(self, ctx):
        self.ctx = ctx
        self.me = self
        self.task = asyncio.create_task(asyncio.sleep(600))
        ctx.logger.debug("up", value={value})

    async def teardown(self):
        self.task.cancel()

    def value(self):
        log.debug("asked")
        return {value}
'''


def measure(reloads: int = QUICK) -> Table:
    """The table of what is left after `reloads` reloads, by real saves of one plugin."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    table = Table(
        "Memory after reloads of one plugin",
        ("reloads", "RSS growth, KiB", "bytes per reload", "old classes", "objects", "leaks told"),
        note=f"growth since reload {WARM_UP}; objects: growth of what the collector tracks",
    )
    say(f"memory: {reloads} reloads")
    table.add(anyio.run(_reload, reloads))
    return table


async def _reload(reloads: int) -> dict[str, object]:
    old: weakref.WeakSet[Any] = weakref.WeakSet()
    leaks = 0

    def count(fact: object) -> None:
        nonlocal leaks
        leaks += isinstance(fact, PluginLeaked)

    with tempfile.TemporaryDirectory(prefix="bench-") as root:
        file = _plugin_below(Path(root))
        async with DevServer(root) as server:
            server.registry.observe(count)
            plugin = server.registry.get_plugin("bench", "reloaded")
            rss = objects = 0
            for number in range(1, reloads + WARM_UP + 1):
                _save(file, number)
                await server.wait_idle()
                if plugin.value() != number:
                    sys.exit(f"reload {number} is not live: {server.statuses()}")
                old.add(type(unwrap(plugin)))
                if number == WARM_UP:
                    rss, objects = _rss_and_objects()
            await anyio.sleep(5)  # Until old generations have been looked at.
            rss_after, objects_after = _rss_and_objects()
    return {
        "reloads": reloads,
        "RSS growth, KiB": (rss_after - rss) // 1024,
        "bytes per reload": (rss_after - rss) / reloads,
        "old classes": len(old) - 1,
        "objects": objects_after - objects,
        "leaks told": leaks,
    }


def _plugin_below(root: Path) -> Path:
    """Write the plugin; the answer is its file."""
    folder = root / "reloaded"
    folder.mkdir()
    (folder / "dagstack.toml").write_text(_MANIFEST, encoding="utf-8")
    _save(folder / "plugin.py", 0)
    return folder / "plugin.py"


def _save(file: Path, number: int) -> None:
    file.write_text(_CODE.format(value=number), encoding="utf-8")


def _rss_and_objects() -> tuple[int, int]:
    """Resident bytes of this process, and how many objects the collector tracks."""
    gc.collect()
    text = Path("/proc/self/statm").read_text(encoding="ascii")
    return int(text.split()[1]) * 4096, len(gc.get_objects())
