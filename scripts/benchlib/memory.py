"""What ten thousand reloads leave in memory.

    python -m scripts.benchlib.memory WHAT RELOADS

prints the row.
"""

from __future__ import annotations

import gc
import json
import logging
import sys
import tempfile
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import anyio
import structlog

from dagstack_dev import DevServer, PluginLeaked, unwrap
from scripts.benchlib.checkouts import Checkout
from scripts.benchlib.fresh import in_fresh_process
from scripts.benchlib.report import Table, say

WARM_UP: Final = 200
"""Reloads after which every cache has what it will ever have."""

_MANIFEST: Final = """\
[plugin]
name = "{name}"
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


_IMPORTER: Final = '''\
"""One of the plugins that import the shared code."""

from helpers.words import VALUE, Word


class Plugin:
    def setup(self, ctx):
        self.word = Word(str(VALUE))

    def value(self):
        return VALUE
'''

_SHARED: Final = '''\
"""Code that plugins share, saved for the {value}th time."""

from dataclasses import dataclass

VALUE = {value}


@dataclass
class Word:
    text: str
'''

IMPORTERS: Final = 30
PLUGIN: Final = "a plugin"
SHARED: Final = f"code that {IMPORTERS} plugins import"


def measure(reloads: int, reloads_of_shared: int, checkouts: Sequence[Checkout]) -> Table:
    """The table of what is left after real saves of one plugin, and of code that many import."""
    table = Table(
        "Memory after saves",
        (
            *("saved", "of", "reloads", "RSS growth, KiB"),
            *("bytes per reload", "old classes", "objects", "leaks"),
        ),
        note=f"growth since reload {WARM_UP}; objects: growth of what the collector tracks",
    )
    for what, times in ((PLUGIN, reloads), (SHARED, reloads_of_shared)):
        for checkout in checkouts:
            say(f"memory: {times} saves of {what}, {checkout.name}")
            row = in_fresh_process("memory", what, times, checkout=checkout)
            table.add({"saved": what, "of": checkout.name} | row)
    return table


def write_one(root: Path) -> Callable[[int], object]:
    """Write a plugin with a task, a logger and annotations; what is returned saves it again."""
    return _saver(_plugin(root, "reloaded"), _CODE)


def write_shared(root: Path) -> Callable[[int], object]:
    """Write plugins that import a module; what is returned saves that again."""
    for number in range(1, IMPORTERS):
        _plugin(root, f"p{number:02}").write_text(_IMPORTER, encoding="utf-8")
    _plugin(root, "reloaded").write_text(_IMPORTER, encoding="utf-8")
    helpers = root / "helpers"
    helpers.mkdir()
    (helpers / "__init__.py").touch()
    return _saver(helpers / "words.py", _SHARED)


WRITERS: Final = {PLUGIN: write_one, SHARED: write_shared}


def _saver(file: Path, code: str) -> Callable[[int], object]:
    def save(number: int) -> object:
        return file.write_text(code.format(value=number), encoding="utf-8")

    save(0)
    return save


def _plugin(root: Path, name: str) -> Path:
    """Write the manifest of a plugin; the answer is the file for its code."""
    folder = root / name
    folder.mkdir()
    (folder / "dagstack.toml").write_text(_MANIFEST.format(name=name), encoding="utf-8")
    return folder / "plugin.py"


async def run(what: str, reloads: int) -> dict[str, object]:
    """The figures of one row, after so many saves of one of `WRITERS`."""
    old: weakref.WeakSet[Any] = weakref.WeakSet()
    leaks = 0

    def count(fact: object) -> None:
        nonlocal leaks
        leaks += isinstance(fact, PluginLeaked)

    with tempfile.TemporaryDirectory(prefix="bench-") as root:
        save = WRITERS[what](Path(root))
        async with DevServer(root) as server:
            server.registry.observe(count)
            plugin = server.registry.get_plugin("bench", "reloaded")
            rss = objects = 0
            for number in range(1, reloads + WARM_UP + 1):
                save(number)
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
        "leaks": leaks,
    }


def _rss_and_objects() -> tuple[int, int]:
    """Resident bytes of this process, and how many objects the collector tracks."""
    gc.collect()
    text = Path("/proc/self/statm").read_text(encoding="ascii")
    return int(text.split()[1]) * 4096, len(gc.get_objects())


if __name__ == "__main__":
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    print(json.dumps(anyio.run(run, sys.argv[1], int(sys.argv[2]))))
