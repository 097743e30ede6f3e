"""A setup is broken off for an edit of what it is made from, and a retry for anything newer."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import anyio
import pytest
from mcp_servers import mcp_plugin
from serving import Live, edit, make_live, ref, serving
from trees import PluginTree

from dagstack_dev import (
    PluginRetrying,
    ReloadCommitted,
    ReloadRolledBack,
    ReloadStarted,
    State,
    Transition,
    WatchStarted,
)
from dagstack_dev.app.reload import preemption
from dagstack_dev.app.reload.collect import Collected
from dagstack_dev.app.reload.inbox import TRIED_AGAIN, Batch
from dagstack_dev.core.errors.life import RetryPreempted, SetupPreempted
from dagstack_dev.core.events import Fact
from dagstack_dev.host.loop.limits import process_clock


async def until_tried(live: Live, times: int) -> PluginRetrying:
    """Wait until a plugin has been tried so often, and failed."""
    return await live.fact(PluginRetrying, lambda fact: fact.attempt >= times)


HANGS = """
import anyio

class Plugin:
    async def setup(self, ctx):
        journal = ctx.extras["journal"]
        journal.append("tried")
        if journal.count("tried") == 1:
            raise ConnectionError("refused")
        await anyio.sleep_forever()
"""


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_retry_is_preempted_by_an_edit_of_another(tree: PluginTree, backend: str) -> None:
    async def main() -> None:
        tree.plugin("base", code=HANGS)
        tree.plugin("aside")
        async with serving(tree, retry_seconds=0.01, retry_limit_seconds=1e6) as live:
            await live.fact(Transition, is_setting_up_in_a_reload)
            tree.plugin("aside", value=2)
            assert (await until_tried(live, 2)).seconds == 0.02
            assert isinstance(live.status("base").error, RetryPreempted)
            await live.fact(ReloadCommitted)
            assert live.plugin("aside").value() == 2

    anyio.run(main, backend=backend)


def is_setting_up(fact: Transition) -> bool:
    return fact.to_state is State.SETTING_UP


def is_setting_up_in_a_reload(fact: Transition) -> bool:
    return is_setting_up(fact) and fact.reload_id is not None


async def test_a_retry_is_preempted_by_an_edit_of_its_own_plugin(tree: PluginTree) -> None:
    tree.plugin("base", code=HANGS)
    async with serving(tree, retry_seconds=0.01) as live:
        await live.fact(Transition, is_setting_up_in_a_reload)
        tree.plugin("base", value=2)
        await live.fact(ReloadCommitted)
        assert live.plugin("base").value() == 2


@pytest.mark.parametrize("moment", ["while the disk is looked at", "as its setup begins"])
@pytest.mark.parametrize("company", ["alone", "with an edit"])
async def test_a_retry_is_preempted_by_what_came_in_before_its_setup(
    tree: PluginTree, monkeypatch: pytest.MonkeyPatch, moment: str, company: str
) -> None:
    asked: list[anyio.Event] = []

    def ask(*_: object) -> None:
        if not asked:
            asked.append(live.server._loop.inbox.request(None))

    tree.plugin("base", code=HANGS)
    tree.plugin("aside")
    async with serving(tree, retry_seconds=0.2, retry_limit_seconds=1e6) as live:
        loop = live.server._loop
        collect, retry = loop.collector.collect, loop.inbox.happens

        async def collect_and_ask(batch: Batch) -> Collected:
            collected = await collect(batch)
            if any(each.reason == TRIED_AGAIN for each in batch.happened):
                ask()
            return collected

        def also_edit(*retried: Any) -> None:
            if company == "with an edit":
                tree.plugin("aside", value=2)
                loop.inbox.put_paths({str(tree.root / "aside/plugin.py")})
            retry(*retried)

        monkeypatch.setattr(loop.inbox, "happens", also_edit)
        if moment == "while the disk is looked at":
            monkeypatch.setattr(loop.collector, "collect", collect_and_ask)
        else:
            live.server.registry.observe(
                lambda fact: (
                    ask()
                    if isinstance(fact, Transition)
                    and fact.ref == ref("base")
                    and is_setting_up(fact)
                    else None
                )
            )
        await until_tried(live, 2)
        assert isinstance(live.status("base").error, RetryPreempted)
        await asked[0].wait()


async def test_a_retry_is_not_preempted_by_data(tree: PluginTree) -> None:
    tree.plugin(
        "base",
        code=HANGS.replace(
            "sleep_forever()", "lowlevel.checkpoint(); await ctx.extras['seen'].wait()"
        ),
    )
    seen = anyio.Event()
    async with serving(tree, extras={"seen": seen}, retry_seconds=0.01) as live:
        await live.fact(Transition, is_setting_up_in_a_reload)
        (tree.root / "base/events.log").write_text("tried\n")
        while not live.server._loop.inbox.deferred:
            await anyio.sleep(0.001)
        seen.set()
        await live.fact(Transition, lambda fact: fact.to_state is State.READY)
        assert not any(isinstance(each.error, RetryPreempted) for each in live.of(Transition))


PATIENT = "startup_timeout_sec = 600\n"

STUCK = """
import anyio
import helpers

class Plugin:
    HANGS = True
    async def setup(self, ctx):
        if self.HANGS and ctx.registry.get_plugin("demo", "library").value() == 1:
            if helpers.HANGS and ctx.config.get("hangs"):
                ctx.extras["journal"].append("hangs")
                await anyio.sleep_forever()
    def value(self):
        return 1
"""
"""A plugin whose setup never ends, but for an edit of any of the things that it is made from."""

IN_THREAD = """
import threading

class Plugin:
    def setup(self, ctx):
        ctx.extras["journal"].append("hangs")
        ctx.extras["ends"].wait(60)
"""


def edit_code(tree: PluginTree) -> None:
    edit(tree.root / "base/plugin.py", "HANGS = True", "HANGS = False")


def edit_shared_code(tree: PluginTree) -> None:
    tree.write("helpers/__init__.py", "HANGS = False\n")


def edit_dependency(tree: PluginTree) -> None:
    tree.plugin("library", value=2)


def edit_manifest(tree: PluginTree) -> None:
    tree.write("base/other.py", "class Plugin: ...\n")
    edit(tree.root / "base/dagstack.toml", "plugin:Plugin", "other:Plugin")


def edit_configuration(tree: PluginTree) -> None:
    tree.write("../config.toml", "[demo.base]\nhangs = false\n")


def remove(tree: PluginTree) -> None:
    (tree.root / "base").rename(tree.root.parent / "base")


EDITS = [
    edit_code,
    edit_shared_code,
    edit_dependency,
    edit_manifest,
    edit_configuration,
    remove,
]


def hanging(tree: PluginTree) -> None:
    tree.write("helpers/__init__.py", "HANGS = True\n")
    tree.plugin("library")
    tree.plugin("base", code=STUCK, depends_on=["library"], manifest=PATIENT)


async def until_it_hangs(live: Live) -> None:
    """Wait until a setup hangs, whatever reloads there were of what was saved file by file."""
    while "hangs" not in live.journal:
        await anyio.sleep(0.001)
    live.forget()


@pytest.mark.parametrize("change", EDITS)
@pytest.mark.parametrize("ran_before", [False, True], ids=["first start", "reload"])
async def test_an_edit_of_what_is_being_set_up_takes_its_place(
    tree: PluginTree, change: Callable[[PluginTree], None], ran_before: bool
) -> None:
    tree.write("../config.toml", "[demo.base]\nhangs = true\n")
    if ran_before:
        tree.plugin("base")
    else:
        hanging(tree)
    live = make_live(tree, config_file=tree.root.parent / "config.toml")

    async def change_what_hangs() -> None:
        if ran_before:
            await live.fact(WatchStarted)
            hanging(tree)
        await until_it_hangs(live)
        change(tree)

    async with anyio.create_task_group() as group:
        group.start_soon(change_what_hangs)
        async with live.server:
            error = (await live.fact(Transition, lambda fact: fact.error is not None)).error
            assert type(error) is SetupPreempted
            await live.fact(ReloadCommitted, lambda fact: ref("base") in fact.affected)
            if change is remove:
                assert live.states == {"library": "ready"}
            else:
                assert live.states == {"base": "ready", "library": "ready"}
            assert live.of(PluginRetrying) == []


async def test_a_setup_in_a_thread_is_preempted(tree: PluginTree) -> None:
    ends = threading.Event()
    tree.plugin("base")
    async with serving(tree, extras={"ends": ends}) as live:
        tree.plugin(
            "base", code=IN_THREAD, manifest=PATIENT + "execution_model = 'thread_cpu_bound'\n"
        )
        await until_it_hangs(live)
        tree.plugin("base", value=2)
        await live.fact(ReloadCommitted)
        assert live.plugin("base").value() == 2
        ends.set()


async def test_a_handshake_is_preempted(tree: PluginTree) -> None:
    mcp_plugin(tree, "base", kind="demo")
    async with serving(tree) as live:
        mcp_plugin(tree, "base", "--silent", kind="demo", manifest=PATIENT)
        await live.fact(Transition, is_setting_up_in_a_reload)
        mcp_plugin(tree, "base", kind="demo", value=2)
        await live.fact(ReloadCommitted)
        assert await live.plugin("base").value() == "2"


async def test_an_edit_of_a_plugin_that_needs_it_not_leaves_a_setup_alone(
    tree: PluginTree,
) -> None:
    code = """
    class Plugin:
        async def setup(self, ctx):
            await ctx.extras["seen"].wait()
    """
    seen = anyio.Event()
    tree.plugin("aside")
    async with serving(tree, extras={"seen": seen}) as live:
        tree.plugin("base", code=code)
        await live.fact(Transition, is_setting_up_in_a_reload)
        tree.plugin("aside", value=2)
        await live.fact(ReloadCommitted, lambda fact: ref("aside") in fact.affected)
        assert live.plugin("aside").value() == 2
        assert live.state("base") is State.SETTING_UP
        seen.set()
        await live.fact(ReloadCommitted, lambda fact: ref("base") in fact.affected)
        assert not any(fact.error for fact in live.of(Transition))


async def test_a_roll_back_is_not_preempted(tree: PluginTree) -> None:
    code = """
    class Plugin:
        async def setup(self, ctx):
            await ctx.extras["may_end"].wait()
    """
    may_end = anyio.Event()
    may_end.set()
    folder = tree.plugin("base", code=code)
    async with serving(tree, extras={"may_end": may_end}) as live:
        live.server._context.extras["may_end"] = may_end = anyio.Event()
        edit(folder / "plugin.py", "await ctx", "1 / 0; await ctx")
        await live.fact(
            Transition, lambda fact: fact.reason == "rolled back" and is_setting_up(fact)
        )
        tree.plugin("base", value=2)
        while not live.server._loop.inbox.deferred:
            await anyio.sleep(0.001)
        may_end.set()
        await live.fact(ReloadCommitted)
        assert not any(isinstance(fact.error, SetupPreempted) for fact in live.of(Transition))


BY_ITSELF = 'made.write_text(f"AT = {time.time_ns()}")'

BY_A_PROCESS = 'subprocess.run(["sh", "-c", f"echo AT = {time.time_ns()} > {made}"])'


@pytest.mark.parametrize("write", [BY_ITSELF, BY_A_PROCESS], ids=["itself", "another process"])
async def test_a_plugin_whose_code_is_written_anew_while_it_is_set_up_comes_up(
    tree: PluginTree, monkeypatch: pytest.MonkeyPatch, write: str
) -> None:
    monkeypatch.setattr(preemption, "PAUSE_SECONDS", 0.02)
    code = f"""
    import anyio, subprocess, time
    from pathlib import Path

    class Plugin:
        async def setup(self, ctx):
            made = Path(__file__).parent / "made.py"
            {write}
            await ctx.extras["rest"]()
    """

    async def rest() -> None:
        begun.append(None)
        if write == BY_A_PROCESS and len(begun) == 1:
            await anyio.sleep_forever()  # Until that has been noticed.
        await anyio.sleep(0.1)

    begun: list[None] = []
    tree.write("base/made.py", "AT = 0\n")
    tree.plugin("base", code=code)
    live = make_live(tree, extras={"rest": rest})
    async with live.server:
        await live.fact(Transition, lambda fact: fact.to_state is State.READY)
        preempted = [fact for fact in live.of(Transition) if isinstance(fact.error, SetupPreempted)]
        assert bool(preempted) is (write == BY_A_PROCESS)


@pytest.mark.parametrize("edited", ["helpers/__init__.py", "base/plugin.py"])
async def test_a_late_event_of_what_is_being_set_up_preempts_nothing(
    tree: PluginTree, edited: str
) -> None:
    code = """
    import anyio
    from helpers import VALUE

    class Plugin:
        async def setup(self, ctx):
            await anyio.lowlevel.checkpoint()
    """
    tree.write("helpers/__init__.py", "VALUE = 1\n")
    tree.plugin("base", code=code)
    async with serving(tree) as live:
        live.server.registry.observe(
            lambda fact: (
                live.server._loop.inbox.put_paths({str(tree.root / edited)})
                if isinstance(fact, ReloadStarted | Transition)
                else None
            )
        )
        edit(tree.root / edited, "VALUE", "VALUE  ")
        await live.fact(ReloadCommitted)
        assert not any(fact.error for fact in live.of(Transition))


async def test_code_that_came_too_late_for_another_preempts_none_of_its_importers(
    tree: PluginTree,
) -> None:
    code = """
    import anyio
    try:
        from helpers import VALUE
    except ImportError:
        VALUE = 0

    class Plugin:
        async def setup(self, ctx):
            await anyio.lowlevel.checkpoint()

        def value(self):
            return VALUE
    """
    tree.plugin("other", code=code)
    tree.plugin("base")
    async with serving(tree) as live:
        inbox = live.server._loop.inbox

        def see(fact: Fact) -> None:
            if isinstance(fact, ReloadStarted) and ref("base") in fact.affected:
                tree.write("helpers/__init__.py", "VALUE = 1\n")
            elif isinstance(fact, Transition):
                inbox.put_paths({str(tree.root / "base/plugin.py")})

        live.server.registry.observe(see)
        tree.plugin("base", code=code)
        await live.fact(ReloadCommitted, lambda fact: ref("other") in fact.affected)
        await live.server.wait_idle()
        assert not any(fact.error for fact in live.of(Transition))
        assert (live.plugin("base").value(), live.plugin("other").value()) == (1, 1)


async def test_what_an_edit_has_preempted_is_tried_when_that_edit_is_undone(
    tree: PluginTree,
) -> None:
    code = """
    import anyio

    class Plugin:
        async def setup(self, ctx):
            journal = ctx.extras["journal"]
            journal.append("tried")
            if journal.count("tried") == 1:
                await anyio.sleep_forever()

        def value(self):
            return 2
    """
    plugin = tree.plugin("base") / "plugin.py"
    async with serving(tree) as live:
        tree.plugin("base", code=code)
        await live.fact(Transition, is_setting_up_in_a_reload)
        text = plugin.read_text()

        def undo(fact: Fact) -> None:
            if isinstance(fact, Transition) and type(fact.error) is SetupPreempted:
                plugin.write_text(text)

        live.server.registry.observe(undo)
        edit(plugin, "return 2", "return 3")
        await live.fact(ReloadRolledBack)
        await live.server.wait_idle()
        assert not live.status("base").pending
        assert live.plugin("base").value() == 2


TRIES = """
class Plugin:
    async def setup(self, ctx):
        ctx.extras["tried"](ctx.config["value"])
        await ctx.extras["gate"].wait()
        if ctx.extras["failing"]:
            raise RuntimeError(ctx.extras["failing"].pop())
"""


@pytest.mark.parametrize("failing", [[], ["busy"]], ids=["comes back", "fails in the roll-back"])
async def test_a_section_that_is_put_back_while_it_preempts_leaves_what_ran(
    tree: PluginTree, failing: list[str]
) -> None:
    gate, tried = anyio.Event(), list[int]()
    gate.set()
    tree.plugin("base", code=TRIES)
    tree.plugin("user", depends_on=["base"])
    tree.plugin("aside")
    tree.write("../config.toml", "[demo.base]\nvalue = 1\n")
    extras = {"gate": gate, "tried": tried.append, "failing": []}
    async with serving(tree, config_file=tree.root / "../config.toml", extras=extras) as live:
        extras |= {"gate": (gate := anyio.Event()), "failing": failing}
        live.server._context.extras.update(extras)
        tree.write("../config.toml", "[demo.base]\nvalue = 2\n")
        await live.fact(Transition, is_setting_up_in_a_reload)
        tree.write("../config.toml", "[demo.base]\nvalue = 1\n")
        tree.plugin("aside", value=2)  # What comes later has been dealt with only then.
        await live.fact(ReloadCommitted, lambda fact: ref("aside") in fact.affected)
        gate.set()
        await live.server.wait_idle()
        assert {*live.states.values()} == {"ready"}
        assert not any(status.pending for status in live.server.statuses().values())
    assert (tried[:3], failing) == ([1, 2, 1], [])


async def test_nothing_is_preempted_while_a_prompt_is_open(
    tree: PluginTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preemption, "PAUSE_SECONDS", 0.01)
    ends = threading.Event()
    tree.plugin("base")
    async with serving(tree, extras={"ends": ends}) as live:
        tree.plugin(
            "base", code=IN_THREAD, manifest=PATIENT + "execution_model = 'thread_cpu_bound'\n"
        )
        await until_it_hangs(live)
        held = [True, True, True]
        monkeypatch.setattr(process_clock, "is_held", lambda: bool(held and held.pop()))
        tree.plugin("base", value=2)
        await live.fact(Transition, lambda fact: isinstance(fact.error, SetupPreempted))
        assert held == []
        ends.set()
