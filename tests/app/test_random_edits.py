"""Reload equals restart: random edits against a cold start of the same files."""

from __future__ import annotations

import random
import shutil
from dataclasses import dataclass, field
from typing import Any

import pytest
from trees import PluginTree

from dagstack_dev import DevServer, PluginRef, Settings, unwrap
from dagstack_dev.core.lifecycle import State

NAMES = "abcdefgh"
STEPS = 25

SYNC = """
class Plugin:
    VALUE = {value}

    def setup(self, ctx):
        {setup}
        self.seen = {{n: ctx.registry.get_plugin("demo", n).VALUE for n in {depends_on!r}}}
        self.up = True

    def teardown(self):
        self.up = False
        {teardown}
"""

ASYNC = """
import anyio

class Plugin:
    VALUE = {value}

    async def setup(self, ctx):
        await anyio.sleep({pause})
        {setup}
        self.seen = {{n: ctx.registry.get_plugin("demo", n).VALUE for n in {depends_on!r}}}
        self.tasks = anyio.create_task_group()
        await self.tasks.__aenter__()
        self.tasks.start_soon(anyio.sleep_forever)
        self.up = True

    async def teardown(self):
        self.up = False
        self.tasks.cancel_scope.cancel()
        await self.tasks.__aexit__(None, None, None)
        {teardown}
"""


@dataclass
class Source:
    """What one folder holds."""

    name: str
    value: int = 0
    depends_on: list[str] = field(default_factory=list)
    asynchronous: bool = False
    pause: float = 0
    setup: str = "pass"
    teardown: str = "pass"
    compiles: bool = True
    valid: bool = True


class Developer:
    """Edits a tree the way people do, at random but repeatably."""

    def __init__(self, tree: PluginTree, seed: int) -> None:
        self.tree = tree
        self.dice = random.Random(seed)
        self.folders: dict[str, Source] = {}
        self.done: list[str] = []

    def act(self) -> None:
        """One edit."""
        names = ["add", "remove", "move", "rename", "depend", "break_syntax", "break_manifest"]
        names += ["break_setup", "break_teardown", "change_style", "mend", *["edit"] * 4]
        action = self.dice.choice(names)
        if action == "add" or not self.folders:
            self.add()
            return
        folder = self.dice.choice(sorted(self.folders))
        self.done.append(f"{action} {folder}")
        getattr(self, action)(folder, self.folders[folder])

    def add(self, *_: Any) -> None:
        free = [name for name in NAMES if name not in self.folders]
        if free:
            folder = self.dice.choice(free)
            wants = [name for name in NAMES if name < folder and self.dice.random() < 0.25]
            self.folders[folder] = Source(
                folder,
                depends_on=wants,
                asynchronous=self.dice.random() < 0.4,
                pause=self.dice.choice([0, 0, 0.002, 0.01]),
            )
            self.done.append(f"add {folder}")
            self.save(folder)

    def remove(self, folder: str, _: Source) -> None:
        del self.folders[folder]
        shutil.rmtree(self.tree.root / folder)

    def move(self, folder: str, source: Source) -> None:
        free = [name for name in NAMES if name not in self.folders]
        if free:
            target = self.dice.choice(free)
            self.folders[target] = self.folders.pop(folder)
            (self.tree.root / folder).rename(self.tree.root / target)

    def rename(self, folder: str, source: Source) -> None:
        source.name = self.dice.choice(NAMES)
        self.save(folder)

    def depend(self, folder: str, source: Source) -> None:
        source.depends_on = [n for n in NAMES if n != source.name and self.dice.random() < 0.2]
        self.edit(folder, source)

    def break_syntax(self, folder: str, source: Source) -> None:
        source.compiles = not source.compiles
        self.save(folder)

    def break_manifest(self, folder: str, source: Source) -> None:
        source.valid = not source.valid
        self.save(folder)

    def break_setup(self, folder: str, source: Source) -> None:
        source.setup = self.dice.choice(["pass", "raise ValueError(1)", "1 / 0"])
        self.save(folder)

    def break_teardown(self, folder: str, source: Source) -> None:
        source.teardown = self.dice.choice(["pass", "raise ValueError(2)"])
        self.save(folder)

    def change_style(self, folder: str, source: Source) -> None:
        source.asynchronous = not source.asynchronous
        self.save(folder)

    def edit(self, folder: str, source: Source) -> None:
        source.value = self.dice.randrange(10**6)
        self.save(folder)

    def mend(self, *_: Any) -> None:
        """Make everything right at once, as a branch switch does."""
        for folder, source in sorted(self.folders.items()):
            source.name = folder
            source.depends_on = [n for n in source.depends_on if n in self.folders and n < folder]
            source.setup = source.teardown = "pass"
            source.compiles = source.valid = True
            self.save(folder)

    def save(self, folder: str) -> None:
        source = self.folders[folder]
        code = (ASYNC if source.asynchronous else SYNC).format(**vars(source))
        self.tree.plugin(
            source.name,
            folder=folder,
            depends_on=source.depends_on,
            code=code if source.compiles else code.replace("def setup(", "def setup((", 1),
            manifest="" if source.valid else "            bogus = 1\n",
        )


def picture(server: DevServer) -> dict[PluginRef, tuple[Any, ...]]:
    """What runs: versions and wiring of what is ready, the state of the rest."""
    seen: dict[PluginRef, tuple[Any, ...]] = {}
    for ref, status in server.statuses().items():
        if status.state is State.READY:
            plugin = unwrap(server.registry.get_plugin(*ref))
            seen[ref] = (status.state, plugin.VALUE, plugin.seen, plugin.up)
        else:
            seen[ref] = (status.state,)
    return seen


@pytest.mark.timeout(120)
@pytest.mark.parametrize("seed", range(6))
async def test_after_any_edits_the_live_graph_is_that_of_a_restart(
    tree: PluginTree, seed: int
) -> None:
    developer = Developer(tree, seed)
    settings = Settings(doubt_ms=20)
    async with DevServer(tree.root, settings=settings) as server:
        for _ in range(STEPS):
            for _ in range(developer.dice.choice([1, 1, 1, 2, 4])):
                developer.act()
            await server.wait_idle()
            live = picture(server)
            graph = server.registry.table.graph
            for ref, (state, *_) in live.items():
                if state is State.READY:
                    for other in graph.dependencies(ref):
                        assert live[other][0] is State.READY, (ref, other, developer.done)
            async with DevServer(tree.root, settings=settings) as restarted:
                cold = picture(restarted)
            if all(state is State.READY for state, *_ in cold.values()):
                assert live == cold, developer.done
            pending = any(status.pending for status in server.statuses().values())
            for ref, (state, *_) in cold.items():
                if state is State.READY and not pending:
                    assert live.get(ref) == cold[ref], developer.done
