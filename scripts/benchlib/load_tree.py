"""Plugins that call each other and notice when a torn-down instance answers; and their edits."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Final

KIND: Final = "load"

DEPENDS_ON: Final[dict[str, tuple[str, ...]]] = {
    "store": (),
    "bus": (),
    "cache": ("store",),
    "listener": ("bus",),
    "agent": ("cache",),
    "plain": (),
}
"""What each plugin declares; `plain` is synchronous."""

CALLS: Final[dict[str, tuple[str, ...]]] = {
    "store": ("plain",),
    "bus": ("listener",),
    "cache": ("store",),
    "listener": ("bus",),
    "agent": ("cache", "store"),
    "plain": (),
}
"""What each plugin calls; `bus` calls those back that depend on it, which nothing declares."""

MANIFEST: Final = """\
[plugin]
name = "{name}"
kind = "load"
core_version = ">=0.1.0,<1.0.0"
runtime = "in_process"
entry_point = "plugin:Plugin"
depends_on = [{depends_on}]
"""

CODE: Final = '''\
import asyncio

VERSION = {version}
{at_import}

class Plugin:
    gone = False

    {define} setup(self, ctx):
        self.get = ctx.registry.get_plugin
        {in_setup}

    {define} teardown(self):
        self.gone = True
        {in_teardown}

    def seen(self):
        """What every method notes when it begins and when it ends."""
        if self.gone:
            raise RuntimeError("{name} {version} answers, but has been torn down")
        return [("{name}", VERSION)]

    def compute(self):
        first = self.seen()
        return first + self.seen()

    async def ask(self):
        first = self.seen()
        await asyncio.sleep(0)
        return first + self.seen()

    async def work(self):
        first = self.seen()
        await asyncio.sleep(0.002)
        return first + self.seen()

    async def through(self, names):
        """Ask the plugins of `names`, each through the one before it."""
        first = self.seen()
        inner = await self.get("load", names[0]).through(names[1:]) if names else []
        return first + inner + self.seen()

    async def fan_out(self, names):
        """Ask the plugins of `names` at the same time, in tasks of their own."""
        first = self.seen()
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self.get("load", name).ask()) for name in names]
        return first + [pair for task in tasks for pair in task.result()] + self.seen()

    async def stream(self, length):
        for _ in range(length):
            yield self.seen()
            await asyncio.sleep(0)
            self.seen()
'''

SYNTAX, IMPORT, SETUP, SLOW = "syntax error", "import raises", "setup raises", "setup is slow"
FAULTS: Final = {
    SYNTAX: {"at_import": "def ("},
    IMPORT: {"at_import": 'raise OSError("no such device")'},
    SETUP: {"in_setup": 'raise OSError("no such device")'},
}
SLOW_SETUP: Final = {"in_setup": "await asyncio.sleep(0.03)"}


def plugin_code(
    name: str,
    version: int,
    *,
    at_import: str = "",
    in_setup: str = "pass",
) -> str:
    """The text of `plugin.py`; each part may be replaced by something that goes wrong."""
    define = "def" if name == "plain" else "async def"
    return CODE.format(
        name=name,
        version=version,
        define=define,
        at_import=at_import,
        in_setup=in_setup,
        in_teardown="pass" if name == "plain" else "await asyncio.sleep(0.001)",
    )


class Developer:
    """Edits the tree at random, but repeatably; now and then badly.

    Args:
        root: where the plugin folders are written.
        seed: of the dice.
    """

    def __init__(self, root: Path, seed: int) -> None:
        self._root = root
        self._dice = random.Random(seed)  # noqa: S311 - dice, no secrets
        self._version = 1
        self._broken: set[str] = set()
        for name, needs in DEPENDS_ON.items():
            folder = root / name
            folder.mkdir(parents=True)
            depends_on = ", ".join(f'"{other}"' for other in needs)
            manifest = MANIFEST.format(name=name, depends_on=depends_on)
            (folder / "dagstack.toml").write_text(manifest, encoding="utf-8")
            self._save(name, {})

    def edit(self) -> None:
        """Save something: what was broken is repaired first, one edit in three goes wrong."""
        self._version += 1
        if self._broken:
            for name in self._broken:
                self._save(name, {})
            self._broken.clear()
            return
        name = self._dice.choice(list(DEPENDS_ON))
        if self._dice.random() > 1 / 3:
            slow = name != "plain" and self._dice.random() < 1 / 4
            self._save(name, SLOW_SETUP if slow else {})
            return
        self._save(name, FAULTS[self._dice.choice(list(FAULTS))])
        self._broken.add(name)
        if name in {"agent", "cache"}:  # Good itself: up for a moment, then rolled back.
            self._save(DEPENDS_ON[name][0], {})

    def _save(self, name: str, parts: dict[str, str]) -> None:
        text = plugin_code(name, self._version, **parts)
        (self._root / name / "plugin.py").write_text(text, encoding="utf-8")
