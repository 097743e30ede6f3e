"""What is told of one reload: its steps, its plan, what was edited, and what was logged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import pytest
from answering import Answering, answering
from serving import edit, ref
from traces import rows_of
from trees import PluginTree

from dagstack_dev import (
    ReloadCommitted,
    ReloadFailed,
    ReloadRolledBack,
    ReloadSkipped,
    Transition,
)
from dagstack_dev.api.board import Reloads
from dagstack_dev.api.client import ApiError
from dagstack_dev.core.events import ReloadEnd
from dagstack_dev.core.lifecycle import State
from dagstack_dev.core.reloads import Reload, ReloadRecord

FAILS = "class Plugin:\n    def setup(self, ctx):\n        1 / 0\n"

HELD = """
import anyio

class Plugin:
    def setup(self, ctx):
        self.release = anyio.Event()
    async def ask(self):
        await self.release.wait()
        return 1
"""

HOLDING = """
class Plugin:
    def setup(self, ctx):
        self.ctx = ctx
    async def ask(self):
        return await self.ctx.registry.get_plugin("demo", "held").ask()  # here
"""


async def last(server: Answering) -> Any:
    """Everything about the last reload, when all has been dealt with."""
    await server.wait()
    reloads = (await server.get("reloads"))["reloads"]
    return await server.get("reloads", str(reloads[-1]["id"]))


async def save_together(server: Answering, edits: Mapping[Path, str]) -> None:
    """Save some files for one batch."""
    server.live.server.pause(paused=True)
    for path, text in edits.items():
        path.write_text(text)
    while not {*map(str, edits)} <= (server.live.server._loop.inbox.held or frozenset()):
        await anyio.sleep(0.001)
    server.live.server.pause(paused=False)


def steps_of(reload: Any, plugin: str | None) -> list[str]:
    return [each["step"] for each in reload["spans"] if each["plugin"] == plugin]


def assert_in_order(reload: Any) -> None:
    """No two steps of a plugin, nor of the whole reload, overlap, and all are within it."""
    ends = dict[str | None, float]()
    for each in sorted(reload["spans"], key=lambda each: each["begin_ms"]):
        row, begins = each["plugin"], each["begin_ms"]
        assert begins >= ends.get(row, 0) - 0.002, (reload["spans"], each)
        ends[row] = begins + each["ms"]
    assert max(ends.values()) <= reload["duration_ms"] + 0.002


async def test_a_save_has_all_its_steps(tree: PluginTree) -> None:
    tree.plugin("one")
    tree.plugin("two", depends_on=["one"])
    async with answering(tree) as server:
        edit(tree.root / "one" / "plugin.py", "VALUE = 1", "VALUE = 2")
        reload = await last(server)
        assert reload["outcome"] == "committed"
        of_all = steps_of(reload, None)
        assert {*of_all} == {"debounce", "read", "prepare"}
        assert of_all[:2] == ["debounce", "read"]
        assert of_all[-1] == "prepare"
        assert steps_of(reload, "demo/one") == ["teardown", "import", "setup"]
        assert steps_of(reload, "demo/two") == ["teardown", "import", "setup"]
        assert_in_order(reload)
        assert reload["began"] < reload["ended"]


async def test_a_list_has_no_single_steps_but_the_phases_they_make(tree: PluginTree) -> None:
    tree.plugin("one")
    for name in ("two", "three"):
        tree.plugin(name, depends_on=["one"])
    async with answering(tree) as server:
        edit(tree.root / "one" / "plugin.py", "VALUE = 1", "VALUE = 2")
        reload = await last(server)
        (listed,) = (await server.get("reloads"))["reloads"]
        assert "spans" not in listed
        assert listed["phases"] == reload["phases"]
        for phase in listed["phases"]:
            spans = [each for each in reload["spans"] if each["step"] == phase["step"]]
            assert phase["begin_ms"] == min(each["begin_ms"] for each in spans)
            end = max(each["begin_ms"] + each["ms"] for each in spans)
            assert phase["begin_ms"] + phase["ms"] == pytest.approx(end, abs=0.002)
        assert [each["step"] for each in listed["phases"]][-3:] == ["teardown", "import", "setup"]
        mine = (await server.get("plugins", "demo", "two"))["last_reload"]["spans"]
        assert {each["plugin"] for each in mine} == {None, "demo/two"}


async def test_the_plan_says_what_and_why(tree: PluginTree) -> None:
    tree.plugin("one")
    tree.plugin("two", depends_on=["one"])
    async with answering(tree) as server:
        edit(tree.root / "one" / "plugin.py", "VALUE = 1", "VALUE = 2")
        plan = (await last(server))["plan"]
        assert [(each["plugin"], each["action"]) for each in plan] == [
            ("demo/two", "tear down"),
            ("demo/one", "tear down"),
            ("demo/one", "import"),
            ("demo/one", "set up"),
            ("demo/two", "set up"),
        ]
        reasons = {each["plugin"]: each["reason"] for each in plan}
        assert reasons["demo/one"] == "plugin.py changed"
        assert "demo/one" in reasons["demo/two"]


async def test_what_is_rejected_is_in_the_plan_with_what_was_edited(tree: PluginTree) -> None:
    tree.plugin("one")
    async with answering(tree) as server:
        edit(tree.root / "one" / "plugin.py", "VALUE = 1", "VALUE = (")
        reload = await last(server)
        assert reload["outcome"] == "skipped"
        (rejected,) = reload["plan"]
        assert (rejected["plugin"], rejected["action"]) == ("demo/one", "reject")
        assert "SyntaxError" in rejected["reason"]
        (diff,) = reload["diffs"]
        assert diff["path"] == str(tree.root / "one" / "plugin.py")
        assert "\n-    VALUE = 1\n+    VALUE = (\n" in diff["text"]


async def test_an_edit_of_the_configuration_shows_no_secret(
    tree: PluginTree, tmp_path: Path
) -> None:
    config = tmp_path / "config.toml"
    config.write_text('[demo.one]\ntoken = "first-secret-7"\nsize = 1\n')
    tree.plugin("one")
    async with answering(tree, config_file=config) as server:
        config.write_text('[demo.one]\ntoken = "second-secret-8"\nsize = 2\n')
        reload = await last(server)
        assert [each["path"] for each in reload["diffs"]] == [str(config)]
        assert "-size = 1\n+size = 2\n" in reload["diffs"][0]["text"]
        assert "-secret-" not in str(reload)


async def test_a_drain_names_the_call_that_held_it(tree: PluginTree) -> None:
    tree.plugin("held", code=HELD)
    path = tree.plugin("holding", depends_on=["held"], code=HOLDING) / "plugin.py"
    line = (
        path.read_text()
        .splitlines()
        .index('        return await self.ctx.registry.get_plugin("demo", "held").ask()  # here')
    )
    async with answering(tree) as server, anyio.create_task_group() as callers:
        held = server.live.instance("held")
        callers.start_soon(server.live.plugin("holding").ask)
        await anyio.wait_all_tasks_blocked()
        edit(tree.root / "held" / "plugin.py", "return 1", "return 2")
        while ref("held") not in server.live.server.registry.table.draining:
            await anyio.sleep(0.001)
        held.release.set()
        reload = await last(server)
        drains = {each["plugin"]: each for each in reload["spans"] if each["step"] == "drain"}
        assert drains["demo/held"]["held_by"] == {
            "method": "ask",
            "caller": "demo/holding",
            "path": str(path),
            "line": line + 1,
        }
        by_test = drains["demo/holding"]["held_by"]
        assert (by_test["method"], by_test["caller"]) == ("ask", None)
        assert_in_order(reload)


async def test_a_drain_that_is_given_up_names_the_call_that_goes_on(tree: PluginTree) -> None:
    tree.plugin("held", code=HELD)
    async with answering(tree, drain_seconds=0.05) as server, anyio.create_task_group() as callers:
        callers.start_soon(server.live.plugin("held").ask)
        await anyio.wait_all_tasks_blocked()
        edit(tree.root / "held" / "plugin.py", "return 1", "return 2")
        reload = await last(server)
        callers.cancel_scope.cancel()
        (drain,) = (each for each in reload["spans"] if each["step"] == "drain")
        assert drain["held_by"]["method"] == "ask"
        assert drain["held_by"]["path"] == str(tree.root / "held" / "plugin.py")
        assert steps_of(reload, "demo/held") == ["drain", "teardown", "import", "setup"]


async def test_a_roll_back_is_a_step_around_what_comes_up_again(tree: PluginTree) -> None:
    tree.plugin("one")
    async with answering(tree) as server:
        tree.plugin("one", code=FAILS)
        reload = await last(server)
        assert reload["outcome"] == "rolled_back"
        again = ["import", "setup"]
        assert steps_of(reload, "demo/one") == ["teardown", *again, *again]
        (back,) = (each for each in reload["spans"] if each["step"] == "roll_back")
        assert back["plugin"] is None
        first, *_, second = (each for each in reload["spans"] if each["step"] == "setup")
        assert first["begin_ms"] < back["begin_ms"] < second["begin_ms"]
        assert_in_order(reload)


async def test_an_import_that_fails_is_a_step(tree: PluginTree) -> None:
    tree.plugin("one")
    async with answering(tree) as server:
        tree.plugin("one", code="raise RuntimeError('no')\nclass Plugin: pass\n")
        reload = await last(server)
        assert steps_of(reload, "demo/one")[:2] == ["teardown", "import"]


class Odd(Exception):
    """Of a library; a dataclass that is an exception has no hash either."""

    __hash__ = None  # type: ignore[assignment]

    def __eq__(self, _: object) -> bool:
        raise AttributeError("what is recorded of an error has fewer attributes")


async def test_an_error_without_hash_that_cannot_be_compared_is_told_like_any_other(
    tree: PluginTree,
) -> None:
    code = "class Plugin:\n    def setup(self, ctx):\n        raise ctx.extras['odd']('no')\n"
    tree.plugin("one")
    tree.plugin("failed", code=code)
    async with answering(tree, extras={"odd": Odd}) as server:
        await server.wait()
        tree.plugin("one", code=code)
        await server.post("reload", plugins=["demo/failed"])
        reload = await last(server)
        status = await server.get("status")
        detail = await server.get("plugins", "demo", "one")
    (failed,) = (each for each in status["plugins"] if each["plugin"] == "demo/failed")
    assert failed["error"]["type"] == "Odd"
    assert detail["receipt"]["pending"]
    assert {each["error"]["type"] for each in reload["spans"] if each["error"]} == {"Odd"}


async def test_parts_that_end_differently_are_one_reload(tree: PluginTree) -> None:
    tree.plugin("good")
    tree.plugin("bad")
    async with answering(tree) as server:
        edits = {
            tree.root / "bad" / "plugin.py": FAILS,
            tree.root / "good" / "plugin.py": "class Plugin: pass",
        }
        await save_together(server, edits)
        await server.wait()
        (listed,) = (await server.get("reloads"))["reloads"]
        reload = await server.get("reloads", str(listed["id"]))
        assert listed.items() <= reload.items()
        assert reload["outcome"] == "rolled_back"
        assert reload["affected"] == ["demo/bad", "demo/good"]
        assert steps_of(reload, None).count("prepare") == 1
        assert steps_of(reload, "demo/good") == ["teardown", "import", "setup"]
        assert {*reload["errors"]} == {"demo/bad"}
        assert [each["path"] for each in reload["diffs"]] == [*map(str, edits)]
        good = (await server.get("plugins", "demo", "good"))["last_reload"]
        assert (good["outcome"], good["affected"]) == ("committed", ["demo/good"])
        trace = rows_of((await server.get("trace"))["traceEvents"])
        assert [each["name"] for each in trace["reloads 1"]].count(f"reload {reload['id']}") == 1
        assert "reloads 2" not in trace


def test_the_last_reloads_are_kept_however_many_parts_they_have() -> None:
    reloads = Reloads(most=2)
    for number in (1, 2, 3):
        for part in range(100):
            fact = ReloadCommitted(
                reload_id=number, duration_ms=part, changed=(), affected=(ref(f"of{part}"),)
            )
            reloads.publish(ReloadRecord(fact, 1000.0))
    assert [(each.first.id, len(each.affected)) for each in reloads.all()] == [(2, 100), (3, 100)]


def test_a_roll_back_is_worse_than_what_fails_as_before() -> None:
    one, two = ref("one"), ref("two")
    committed = ReloadCommitted(reload_id=1, duration_ms=1, changed=(), affected=())
    back = ReloadRolledBack(
        reload_id=1, duration_ms=1, roll_back_ms=1, affected=(one,), errors={one: OSError()}
    )
    failed = ReloadFailed(
        reload_id=1, duration_ms=1, affected=(two,), errors={two: OSError()}, as_before=(two,)
    )
    anew = replace(failed, as_before=())

    def outcome(*facts: ReloadEnd) -> str:
        return Reload(tuple(ReloadRecord(fact, 1000.0) for fact in facts)).outcome

    assert outcome(committed, failed) == "failed"
    assert outcome(committed, failed, back) == "rolled_back"
    assert outcome(back, anew) == "failed"


async def test_the_log_of_a_reload_is_what_was_logged_during_it(tree: PluginTree) -> None:
    tree.plugin("one")
    async with answering(tree) as server:

        def publish(fact: object) -> None:
            if isinstance(fact, Transition) and fact.to_state is State.SETTING_UP:
                server.api.board.logs.publish({"event": "in a setup", "plugin": str(fact.ref)})

        server.live.server.registry.observe(publish)
        for value in (2, 3):
            server.api.board.logs.publish({"event": "in between"})
            edit(tree.root / "one" / "plugin.py", f"VALUE = {value - 1}", f"VALUE = {value}")
            reload = await last(server)
            server.api.board.logs.publish({"event": "later", "reload_id": reload["id"]})
            server.api.board.logs.publish({"event": "of another", "reload_id": 99})
        number = (await last(server))["id"]
        logged = (await server.get("logs", reload=number))["events"]
        assert [each["event"] for each in logged] == ["in a setup", "later"]


async def test_a_trace_is_of_all_reloads_or_of_one(tree: PluginTree) -> None:
    tree.plugin("one")
    async with answering(tree) as server:
        edit(tree.root / "one" / "plugin.py", "VALUE = 1", "VALUE = 2")
        await last(server)
        edit(tree.root / "one" / "plugin.py", "VALUE = 2", "VALUE = 3")
        reload = await last(server)
        whole = rows_of((await server.get("trace"))["traceEvents"])["reloads 1"]
        named = [each["name"] for each in whole if each["name"].startswith("reload ")]
        reloads = (await server.get("reloads"))["reloads"]
        assert named == [f"reload {each['id']}" for each in reloads]
        assert (await server.get("reloads", limit=1))["reloads"] == reloads[-1:]
        of_last = rows_of((await server.get("trace", reload=reload["id"]))["traceEvents"])
        assert of_last["reloads 1"][0]["name"] == f"reload {reload['id']}"
        assert [each["name"] for each in of_last["demo/one"]] == ["teardown", "import", "setup"]


async def test_a_reload_that_is_not_there_is_a_problem(tree: PluginTree) -> None:
    async with answering(tree) as server:
        for parts, query in (
            (["trace"], {"reload": 7}),
            (["reloads", "7"], {}),
            (["reloads", "x"], {}),
            (["logs"], {"reload": 7}),
        ):
            with pytest.raises(ApiError) as raised:
                await server.get(*parts, **query)
            assert raised.value.problem["type"] == "no-such-reload"


async def test_a_reload_that_is_asked_for_has_no_edits(tree: PluginTree) -> None:
    tree.plugin("one")
    async with answering(tree) as server:
        await server.live.server.reload(ref("one"))
        reload = await last(server)
        assert reload["diffs"] == []
        assert steps_of(reload, "demo/one") == ["teardown", "import", "setup"]
        assert {each["reason"] for each in reload["plan"]} == {"asked for"}


@pytest.mark.parametrize("is_late", [False, True], ids=["", "late event"])
async def test_a_reload_that_follows_another_has_its_edits_and_does_not_wait(
    tree: PluginTree, is_late: bool
) -> None:
    tree.plugin("bad")
    tree.plugin("good", depends_on=["bad"])
    async with answering(tree) as server:
        edits = {
            tree.root / "bad" / "plugin.py": FAILS,
            tree.root / "good" / "plugin.py": "class Plugin: pass",
        }
        if is_late:
            server.live.server.registry.observe(
                lambda fact: (
                    server.live.server._loop.inbox.put_paths({str(next(iter(edits)))})
                    if isinstance(fact, ReloadRolledBack)
                    else None
                )
            )
        await save_together(server, edits)
        await server.live.fact(ReloadCommitted)
        reload = await last(server)
        assert reload["outcome"] == "committed"
        assert reload["affected"] == ["demo/good"]
        assert [each["path"] for each in reload["diffs"]] == [*map(str, edits)]
        assert steps_of(reload, None) == ["prepare"]


async def test_a_save_that_changes_nothing_tells_what_it_took(tree: PluginTree) -> None:
    path = tree.plugin("one") / "plugin.py"
    async with answering(tree) as server:
        path.write_bytes(path.read_bytes())
        await server.live.fact(ReloadSkipped)
        reload = await last(server)
        assert reload["reason"] == "no content changed"
        assert {*steps_of(reload, None)} == {"debounce", "read", "prepare"}
        assert reload["paths"] == [str(path)]
        assert (reload["plan"], reload["diffs"]) == ([], [])
