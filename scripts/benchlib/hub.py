"""A hub is saved, and everything that depends on it is set up again.

    python -m scripts.benchlib.hub TREE HUB SAVES

prints, for each save, what it has cost the server and what the plain calls have.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from scripts.benchlib.checkouts import Checkout
from scripts.benchlib.fresh import Cost, in_fresh_process, log_into_nothing, since, spent
from scripts.benchlib.report import Table, percentile, say
from scripts.benchlib.trees import write_hub


def measure(
    dependents: Sequence[int],
    setups_ms: Sequence[float],
    saves: int,
    checkouts: Sequence[Checkout],
) -> Table:
    """The table of hubs."""
    table = Table(
        "Save of a hub to all ready, in ms",
        (
            "dependents",
            *("each setup", "way", "bare p50", "p50", "p95"),
            *("p50/bare", "CPU/bare", "us over, each", "saves"),
        ),
        note="bare: teardown in reverse, one exec, setup of the same number of instances in the "
        "same process; the save also waits 5 ms for the disk to be quiet. CPU: of all threads, "
        "which other programs disturb less; us over: of CPU",
    )
    for count in dependents:
        for setup_ms in setups_ms:
            say(f"hub: {count} dependents, {setup_ms:g} ms each")
            with tempfile.TemporaryDirectory(prefix="bench-") as folder:
                tree = Path(folder, "plugins")
                hub = write_hub(tree, count, setup_ms)
                took = {
                    checkout.name: in_fresh_process("hub", tree, hub, saves, checkout=checkout)
                    for checkout in checkouts
                }
            for name, both in took.items():
                (ours, cpu, _), (bare, bare_cpu, _) = (zip(*costs, strict=True) for costs in both)
                floor, over = percentile(bare, 50), percentile(cpu, 50) - percentile(bare_cpu, 50)
                table.add(
                    {
                        "dependents": count,
                        "each setup": f"{setup_ms:g} ms",
                        "way": name,
                        "bare p50": floor,
                        "p50": percentile(ours, 50),
                        "p95": percentile(ours, 95),
                        "p50/bare": percentile(ours, 50) / floor,
                        "CPU/bare": percentile(cpu, 50) / percentile(bare_cpu, 50),
                        "us over, each": over / (count + 1) * 1000,
                        "saves": saves,
                    }
                )
    return table


async def run(tree: str, hub: str, saves: int) -> tuple[list[Cost], list[Cost]]:
    """Save `hub` again and again; after each save do the same by plain calls."""
    from dagstack_dev import DevServer  # noqa: PLC0415 - after the logging is configured
    from dagstack_dev.core.events import ReloadCommitted  # noqa: PLC0415

    save = saver(hub)
    ours, bare = [], []
    async with DevServer(tree) as server:
        events = server.events()
        table = server.registry.table
        classes = [type(table.entries[ref].instance) for ref in table.ready_refs()]
        plain = set_up(classes)
        for number in range(saves):
            before = spent()
            save(number)
            async for fact in events:
                if isinstance(fact, ReloadCommitted):
                    break
            ours.append(since(before))
            before = spent()
            plain = again(plain, hub)
            bare.append(since(before))
    return ours, bare


def saver(path: str) -> Callable[[int], object]:
    """What writes the file once more, with another content for another number."""
    file = Path(path)
    text = file.read_text(encoding="utf-8")
    return lambda number: file.write_text(f"{text}\n# {number}\n", encoding="utf-8")


def set_up(classes: Sequence[type]) -> list[Any]:
    """An instance of each class, set up in turn."""
    instances = [cls() for cls in classes]
    for instance in instances:
        instance.setup(None)
    return instances


def again(instances: Sequence[Any], hub: str) -> list[Any]:
    """Tear down in reverse, execute the hub, set everything up: nothing but the calls."""
    for instance in reversed(instances):
        instance.teardown()
    content = Path(hub).read_bytes()
    namespace: dict[str, Any] = {"__name__": "bare_hub"}
    exec(compile(content, hub, "exec"), namespace)  # noqa: S102 - that is what is measured
    return set_up([namespace["Plugin"], *map(type, instances[1:])])


if __name__ == "__main__":
    log_into_nothing()
    print(json.dumps(asyncio.run(run(sys.argv[1], sys.argv[2], int(sys.argv[3])))))
