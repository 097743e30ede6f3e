"""A slow setup holds up nothing else: what has nothing to do with it is reloaded meanwhile."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest
from command_runs import GUARD_SECONDS
from serving import Live, edit, make_live, ref, serving
from trees import PluginTree

from dagstack_dev.app.reload.collect import Collected
from dagstack_dev.app.reload.inbox import Batch
from dagstack_dev.core.errors.registry import AmbiguousPlugin
from dagstack_dev.core.events import (
    PluginFixed,
    PluginRejected,
    ReloadCommitted,
    ReloadFailed,
    ReloadRolledBack,
    ReloadStarted,
    Transition,
)
from dagstack_dev.core.lifecycle import State

SLOW = """
class Plugin:
    VALUE = {value}

    async def setup(self, ctx):
        ctx.extras["begun"].append(self.VALUE)
        await ctx.extras["gate"].wait()

    def value(self):
        return self.VALUE
"""


async def begins(live: Live, name: str) -> None:
    """Wait until the setup of a plugin has begun."""
    await live.fact(
        Transition, lambda fact: fact.ref == ref(name) and fact.to_state is State.SETTING_UP
    )


@asynccontextmanager
async def gated(tree: PluginTree) -> AsyncIterator[tuple[Live, anyio.Event]]:
    """A server whose slow plugin is up, and the gate that its next setup waits for."""
    gate = anyio.Event()
    gate.set()
    async with serving(tree, extras={"gate": gate, "begun": []}) as live:
        live.server._context.extras["gate"] = gate = anyio.Event()
        live.forget()
        yield live, gate


@pytest.fixture
def slow(tree: PluginTree) -> Path:
    """A plugin whose setup lasts until the gate is opened, and one beside it."""
    tree.plugin("aside")
    return tree.plugin("slow", code=SLOW.format(value=1))


async def test_what_is_beside_a_slow_setup_is_reloaded_at_the_start_already(
    tree: PluginTree, slow: Path
) -> None:
    gate = anyio.Event()
    live = make_live(tree, extras={"gate": gate, "begun": []})
    async with anyio.create_task_group() as group:
        group.start_soon(live.server.start)
        await begins(live, "slow")
        tree.plugin("aside", value=2)
        await live.fact(ReloadCommitted)
        assert live.plugin("aside").value() == 2
        assert live.state("slow") is State.SETTING_UP
        gate.set()
    assert live.plugin("slow").value() == 1
    await live.server.stop()


async def test_what_is_beside_a_slow_reload_is_reloaded_and_rolled_back_meanwhile(
    tree: PluginTree, slow: Path
) -> None:
    async with gated(tree) as (live, gate):
        edit(slow / "plugin.py", "VALUE = 1", "VALUE = 2")
        await begins(live, "slow")
        tree.plugin("aside", value=2)
        await live.fact(ReloadCommitted)
        edit(tree.root / "aside/plugin.py", "VALUE = 2", "VALUE = 1 / 0")
        await live.fact(ReloadRolledBack)
        assert live.plugin("aside").value() == 2
        assert live.state("slow") is State.SETTING_UP
        gate.set()
        await live.server.wait_idle()
        assert live.plugin("slow").value() == 2
        assert live.status("aside").pending


async def test_what_was_rejected_beside_a_slow_start_is_pending_when_that_has_ended(
    tree: PluginTree, slow: Path
) -> None:
    gate = anyio.Event()
    live = make_live(tree, extras={"gate": gate, "begun": []})
    async with anyio.create_task_group() as group:
        group.start_soon(live.server.start)
        await begins(live, "slow")
        edit(tree.root / "aside/plugin.py", "class Plugin:", "class Plugin")
        await live.fact(PluginRejected)
        gate.set()
    await live.server.wait_idle()
    assert live.status("aside").pending
    assert live.of(PluginFixed) == []
    edit(tree.root / "aside/plugin.py", "class Plugin", "class Plugin:")
    await live.fact(PluginFixed)
    assert not live.status("aside").pending
    await live.server.stop()


async def test_what_is_pending_and_down_when_something_beside_it_ends_does_not_stay_pending(
    tree: PluginTree, slow: Path
) -> None:
    gate = anyio.Event()
    gate.set()
    user = tree.plugin("user", depends_on=["slow"]) / "plugin.py"
    async with serving(tree, extras={"gate": gate, "begun": []}) as live:
        edit(user, "class Plugin:", "class Plugin")
        await live.settle()
        assert live.status("user").pending
        live.server._context.extras["gate"] = gate = anyio.Event()
        live.forget()
        edit(user, "class Plugin", "class Plugin:")
        edit(slow / "plugin.py", "VALUE = 1", "VALUE = 2")
        live.take_in()
        await begins(live, "slow")
        tree.plugin("aside", value=2)
        await live.fact(ReloadCommitted)
        gate.set()
        await live.server.wait_idle()
        assert live.plugin("slow").value() == 2
        assert not live.status("user").pending
        assert len(live.of(PluginFixed)) == 1


async def test_an_edit_of_what_a_slow_setup_depends_on_takes_its_place(tree: PluginTree) -> None:
    tree.plugin("base")
    slow = tree.plugin("slow", code=SLOW.format(value=1), depends_on=["base"])
    begun: list[int] = []
    live = make_live(tree, extras={"gate": anyio.Event(), "begun": begun})
    async with anyio.create_task_group() as group:
        group.start_soon(live.server.start)
        await begins(live, "slow")
        edit(slow / "plugin.py", 'await ctx.extras["gate"].wait()', "")
        tree.plugin("base", value=2)
        await live.fact(
            Transition, lambda fact: fact.ref == ref("slow") and fact.to_state is State.READY
        )
    await live.server.wait_idle()
    assert live.plugin("base").value() == 2
    assert begun[0] == begun[-1] == 1
    await live.server.stop()


async def test_what_comes_to_depend_on_a_slow_setup_waits_for_its_end(
    tree: PluginTree, slow: Path
) -> None:
    gate = anyio.Event()
    live = make_live(tree, extras={"gate": gate, "begun": []})
    async with anyio.create_task_group() as group:
        group.start_soon(live.server.start)
        await begins(live, "slow")
        tree.plugin("aside", value=2, depends_on=["slow"])
        tree.plugin("another", value=3)
        await live.fact(
            Transition, lambda fact: fact.ref == ref("another") and fact.to_state is State.READY
        )
        assert live.plugin("aside").value() == 1
        gate.set()
    await live.server.wait_idle()
    assert live.plugin("aside").value() == 2
    assert live.states == dict.fromkeys(["aside", "slow", "another"], "ready")
    reported = [each.reason for each in live.of(Transition) if each.to_state is State.TEARING_DOWN]
    assert reported == ["dagstack.toml and 1 more changed"]
    await live.server.stop()


async def test_news_that_wait_for_a_slow_setup_hold_up_no_second_try_beside_it(
    tree: PluginTree, slow: Path
) -> None:
    tree.plugin("user", depends_on=["aside"])
    gate = anyio.Event()
    live = make_live(tree, extras={"gate": gate, "begun": []})
    async with anyio.create_task_group() as group:
        group.start_soon(live.server.start)
        await begins(live, "slow")
        await live.fact(
            Transition, lambda fact: fact.ref == ref("user") and fact.to_state is State.READY
        )
        group.start_soon(live.server.reload, ref("slow"))
        await anyio.wait_all_tasks_blocked()
        edit(tree.root / "aside/plugin.py", "self.ctx = ctx", "self.ctx = ctx; 1 / 0")
        tree.plugin("user", value=2, depends_on=["aside"])
        await live.fact(ReloadRolledBack)
        await live.fact(ReloadCommitted)
        assert live.plugin("user").value() == 2
        assert live.state("slow") is State.SETTING_UP
        gate.set()
    await live.server.stop()


async def test_a_request_for_what_is_being_set_up_is_met_when_that_has_ended(
    tree: PluginTree, slow: Path
) -> None:
    gate, begun = anyio.Event(), list[int]()
    async with anyio.create_task_group() as group:
        live = make_live(tree, extras={"gate": gate, "begun": begun})
        group.start_soon(live.server.start)
        await begins(live, "slow")
        group.start_soon(live.server.reload, ref("slow"))
        await live.server.reload(ref("aside"))
        assert live.state("slow") is State.SETTING_UP
        gate.set()
    assert begun == [1, 1]
    await live.server.stop()


async def test_what_is_being_removed_is_waited_for_by_a_reload_of_code_that_it_has_imported(
    tree: PluginTree,
) -> None:
    tree.plugin("base")
    code = """
    from ..base.plugin import Plugin as Base

    class Plugin:
        async def teardown(self):
            await self.ctx.extras["gate"].wait()

        async def setup(self, ctx):
            self.ctx = ctx
    """
    tree.plugin("importer", code=code)
    tree.plugin("aside")
    gate = anyio.Event()
    async with serving(tree, extras={"gate": gate}) as live:
        (tree.root / "importer").rename(tree.root.parent / "gone")
        await live.fact(Transition, lambda fact: fact.to_state is State.TEARING_DOWN)
        tree.plugin("base", value=2)
        tree.plugin("aside", value=2)
        await live.fact(ReloadCommitted, lambda fact: ref("aside") in fact.affected)
        assert live.plugin("base").value() == 1
        gate.set()
        await live.server.wait_idle()
        assert live.states == {"base": "ready", "aside": "ready"}
        assert live.plugin("base").value() == 2


async def test_shared_code_of_what_may_be_rolled_back_is_not_let_go_meanwhile(
    tree: PluginTree,
) -> None:
    late = """
    import words

    class Plugin:
        def value(self):
            import words
            return words.WORD
    """
    fails = SLOW.format(value=2).replace(".wait()", ".wait()\n        1 / 0")
    words = tree.write("words.py", "WORD = 'old'\n")
    tree.plugin("slow", code=late)
    tree.plugin("aside")
    gate = anyio.Event()
    async with serving(tree, extras={"gate": gate, "begun": []}) as live:
        live.forget()
        tree.plugin("slow", code=fails)
        await begins(live, "slow")
        words.write_text("WORD = \n", encoding="utf-8")
        tree.plugin("aside", value=2)
        await live.fact(ReloadCommitted, lambda fact: ref("aside") in fact.affected)
        gate.set()
        await live.server.wait_idle()
        assert live.plugin("slow").value() == "old"
        assert live.status("slow").pending


async def test_what_is_mended_beside_a_slow_reload_is_not_pending_when_that_ends(
    tree: PluginTree, slow: Path
) -> None:
    async with gated(tree) as (live, gate):
        aside = tree.root / "aside/plugin.py"
        edit(slow / "plugin.py", "VALUE = 1", "VALUE = 2")
        edit(aside, "class Plugin:", "class Plugin")
        live.take_in()
        await begins(live, "slow")
        await live.fact(PluginRejected)
        edit(aside, "class Plugin", "class Plugin:")
        await live.fact(PluginFixed)
        gate.set()
        await live.server.wait_idle()
        assert not live.status("aside").pending
        assert len(live.of(PluginFixed)) == 1


async def test_a_request_for_what_is_rejected_and_waits_for_a_slow_setup_is_answered(
    tree: PluginTree, slow: Path
) -> None:
    gate = anyio.Event()
    gate.set()
    async with serving(tree, extras={"gate": gate, "begun": []}) as live:
        tree.plugin("aside", depends_on=["slow", "nobody"])
        await live.settle()
        assert live.status("aside").pending
        live.server._context.extras["gate"] = gate = anyio.Event()
        live.forget()
        edit(slow / "plugin.py", "VALUE = 1", "VALUE = 2")
        await begins(live, "slow")
        async with anyio.create_task_group() as group:
            group.start_soon(live.server.reload, ref("aside"))
            await anyio.wait_all_tasks_blocked()
            gate.set()
        assert live.status("aside").pending


async def test_a_request_that_is_rolled_back_while_something_is_looked_at_is_answered(
    tree: PluginTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = """
    class Plugin:
        async def setup(self, ctx):
            await ctx.extras["gate"].wait()
            if ctx.extras["failing"]:
                raise OSError(ctx.extras["failing"].pop())
    """
    tree.plugin("base", code=code)
    gate, failing = anyio.Event(), list[str]()
    gate.set()
    async with serving(tree, extras={"gate": gate, "failing": failing}) as live:
        live.server._context.extras["gate"] = gate = anyio.Event()
        failing.append("no")
        live.forget()
        looking, go_on = anyio.Event(), anyio.Event()
        collector = live.server._loop.collector
        collect = collector.collect

        async def collect_slowly(batch: Batch) -> Collected:
            looking.set()
            await go_on.wait()
            return await collect(batch)

        with anyio.fail_after(GUARD_SECONDS):
            async with anyio.create_task_group() as group:
                group.start_soon(live.server.reload, ref("base"))
                await begins(live, "base")
                monkeypatch.setattr(collector, "collect", collect_slowly)
                live.server._loop.inbox.put_paths({f"{tree.root}/notes.txt"})
                await looking.wait()
                gate.set()
                await live.fact(ReloadRolledBack)
                await anyio.wait_all_tasks_blocked()
                go_on.set()


async def test_an_edit_during_a_setup_waits_for_no_other_plugin_of_the_same_reload(
    tree: PluginTree, slow: Path
) -> None:
    tree.plugin("other")
    async with gated(tree) as (live, gate):
        edit(slow / "plugin.py", "VALUE = 1", "VALUE = 2")
        tree.plugin("other", code=SLOW.format(value=2))
        live.take_in()
        await begins(live, "slow")
        await begins(live, "other")
        tree.plugin("other", value=3)
        await live.fact(ReloadRolledBack)
        await live.fact(ReloadCommitted)
        assert live.plugin("other").value() == 3
        assert live.state("slow") is State.SETTING_UP
        gate.set()
        await live.server.wait_idle()
        assert live.plugin("slow").value() == 2


async def test_an_edit_of_what_a_setup_depends_on_waits_for_no_other_plugin_of_the_same_reload(
    tree: PluginTree, slow: Path
) -> None:
    tree.plugin("base")
    tree.plugin("other", depends_on=["base"])
    async with gated(tree) as (live, _):
        edit(slow / "plugin.py", "VALUE = 1", "VALUE = 2")
        tree.plugin("other", depends_on=["base"], code=SLOW.format(value=2))
        live.take_in()
        await begins(live, "slow")
        await begins(live, "other")
        tree.plugin("base", value=3)
        await live.fact(ReloadRolledBack)
        await live.fact(ReloadStarted, lambda fact: ref("base") in fact.affected)
        assert live.state("slow") is State.SETTING_UP


async def test_what_goes_down_in_a_part_of_a_reload_comes_up_as_after_a_restart_beside_the_rest(
    tree: PluginTree,
) -> None:
    def code(what: str) -> str:
        call = f"await ctx.extras['setup']({what!r})"
        return f"class Plugin:\n    async def setup(self, ctx): {call}\n"

    async def setup(what: str) -> None:
        if what in broken:
            raise ValueError(what)
        if what in gates:
            begun[what].set()
            await gates[what].wait()

    broken = {"slow 2"}
    gates = {"rival": anyio.Event(), "slow 3": anyio.Event()}
    begun = {what: anyio.Event() for what in gates}
    tree.plugin("aside")
    slow = tree.plugin("slow", code=code("slow 1")) / "plugin.py"
    tree.plugin("user", depends_on=["aside", "slow"])
    async with serving(tree, extras={"setup": setup}) as live:
        tree.plugin("aside", kind="other", folder="rival", code=code("rival"))
        edit(slow, "slow 1", "slow 2")
        broken.add("slow 1")  # It does not come back, so that its user is blocked.
        live.take_in()
        await live.fact(ReloadFailed)
        assert live.state("user") is State.BLOCKED
        edit(slow, "slow 2", "slow 3")
        await begun["slow 3"].wait()
        gates["rival"].set()
        await live.fact(ReloadCommitted)
        assert live.state("slow") is State.SETTING_UP
        gates["slow 3"].set()
        await live.server.wait_idle()
        assert live.state("slow") is State.READY
        assert live.state("user") is State.FAILED
        assert isinstance(live.status("user").error, AmbiguousPlugin)
