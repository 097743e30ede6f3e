"""A branch switch that changes many plugins at once.

    python -m scripts.benchlib.branch WAY TREE CHANGED TIMES

prints, for each switch, what it has cost from its end to when everything is ready.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from scripts.benchlib.checkouts import HERE, Checkout
from scripts.benchlib.fresh import Cost, in_fresh_process, log_into_nothing, since, spent
from scripts.benchlib.report import Table, percentile, say
from scripts.benchlib.trees import plain_text, write_tree

OURS: Final = HERE.name
BARE: Final = "bare walk"


def measure(
    sizes: Sequence[tuple[int, int]], rounds: int, times: int, checkouts: Sequence[Checkout]
) -> Table:
    """The table of branch switches; `sizes` are plugins and how many of them change.

    Each way has `rounds` processes, in turn, with `times` switches each.
    """
    table = Table(
        "Branch switch to all ready, in ms",
        ("plugins", "changed", "way", "p50", "max", "/bare", "CPU/bare", "/other", "switches"),
        note="from when git lets go of its lock; bare: walk and stat the tree, then parse, "
        "compile, execute and set up what has changed. CPU: of all threads, which other programs "
        "disturb less",
    )
    for plugins, changed in sizes:
        say(f"branch switch: {changed} of {plugins}")
        took: dict[str, list[Cost]] = {each.name: [] for each in checkouts}
        took[BARE] = []
        with tempfile.TemporaryDirectory(prefix="bench-") as folder:
            tree = Path(folder, "plugins")
            write_tree(tree, plugins)
            (tree / ".git").mkdir()
            for _ in range(rounds):
                took[BARE] += in_fresh_process("branch", BARE, tree, changed, times)
                for each in checkouts:
                    took[each.name] += in_fresh_process(
                        "branch", OURS, tree, changed, times, checkout=each
                    )
        p50, cpu = (
            {way: percentile([cost[index] for cost in costs], 50) for way, costs in took.items()}
            for index in range(2)
        )
        for way, switches in took.items():
            row: dict[str, object] = {"plugins": plugins, "changed": changed, "way": way}
            row |= {"p50": p50[way], "max": max(switches)[0], "switches": len(switches)}
            if way != BARE:
                row |= {"/bare": p50[way] / p50[BARE], "CPU/bare": cpu[way] / cpu[BARE]}
            if way == HERE.name and len(checkouts) > 1:
                row["/other"] = p50[way] / p50[checkouts[-1].name]
            table.add(row)
    return table


def switch(tree: str, changed: int, value: int) -> None:
    """Write what git would, every so many plugins one, under git's lock."""
    lock = Path(tree, ".git", "index.lock")
    lock.touch()
    folders = sorted(Path(tree).glob("p*"))
    for folder in folders[1 :: max(1, len(folders) // changed)][:changed]:
        (folder / "plugin.py").write_text(plain_text(value), encoding="utf-8")
    lock.unlink()


async def switch_ours(tree: str, changed: int, times: int) -> list[Cost]:
    """As the dev server sees it, by file events."""
    from dagstack_dev import DevServer  # noqa: PLC0415 - after the logging is configured
    from dagstack_dev.core.events import ReloadCommitted  # noqa: PLC0415

    took = []
    async with DevServer(tree) as server:
        events = server.events()
        for value in range(times):
            await asyncio.to_thread(switch, tree, changed, value)
            began = spent()
            left = changed
            async for fact in events:
                left -= len(fact.changed) if isinstance(fact, ReloadCommitted) else 0
                if left <= 0:
                    break
            took.append(since(began))
    return took


def switch_bare(tree: str, changed: int, times: int) -> list[Cost]:
    """Look at every file, and load what differs."""
    from scripts.benchlib.bare import load_all, load_plugin  # noqa: PLC0415

    took = []
    live = load_all(tree)
    before = stamps(tree)
    for value in range(times):
        switch(tree, changed, value)
        began = spent()
        now = stamps(tree)
        for folder in {os.path.dirname(p) for p, stamp in now.items() if before[p] != stamp}:  # noqa: PTH120
            live.append(load_plugin(folder))
        took.append(since(began))
        before = now
    return took


def stamps(tree: str) -> dict[str, tuple[int, int]]:
    """Size and time of every file."""
    found = {}
    for folder, folders, files in os.walk(tree):
        folders[:] = [name for name in folders if name not in {".git", "__pycache__"}]
        for name in files:
            path = f"{folder}/{name}"
            status = os.stat(path)  # noqa: PTH116 - as little as possible
            found[path] = (status.st_size, status.st_mtime_ns)
    return found


def _ours(tree: str, changed: int, times: int) -> list[Cost]:
    log_into_nothing()
    return asyncio.run(switch_ours(tree, changed, times))


WAYS: Final[dict[str, Callable[[str, int, int], list[Cost]]]] = {OURS: _ours, BARE: switch_bare}

if __name__ == "__main__":
    print(json.dumps(WAYS[sys.argv[1]](sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))))
