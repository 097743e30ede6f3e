"""Plugins that tell how they are: degraded, well again, or torn down and tried again."""

from __future__ import annotations

import threading

import anyio
import pytest
from serving import context, edit, ref, serving
from trees import PluginTree

from dagstack_dev import (
    HealthCheckInvalid,
    PluginDegraded,
    PluginRecovered,
    PluginRegistry,
    PluginRetrying,
    PluginUnavailable,
    PluginUnhealthy,
    ReloadCommitted,
    ReloadFailed,
    State,
    Transition,
)
from dagstack_dev.core.lifecycle import Stage

CHECKED = """
class Plugin:
    def setup(self, ctx):
        self.answers = ctx.extras["answers"]
    {kind} health(self):
        answer = self.answers.pop(0) if self.answers else None
        if isinstance(answer, Exception):
            raise answer
        return answer
    def value(self):
        return 1
"""
"""A plugin whose health is what the host's `answers` say next; well when there is none left."""

OFTEN = {"health_seconds": 0.005}
DOWN = ConnectionError("the database is gone")
FAILURES = {
    "raises": (DOWN, "health() raised ConnectionError: the database is gone"),
    "returns False": (False, "health() returned False"),
    "says not ok": ({"ok": False, "queue": 7}, "health() returned {'ok': False, 'queue': 7}"),
}


@pytest.fixture(params=["def", "async def"])
def checked(tree: PluginTree, request: pytest.FixtureRequest) -> PluginTree:
    """One plugin with `health`, one that depends on it."""
    tree.plugin("base", code=CHECKED.format(kind=request.param))
    tree.plugin("user", depends_on=["base"])
    return tree


@pytest.mark.parametrize(("answer", "reason"), FAILURES.values(), ids=FAILURES.keys())
async def test_a_failure_degrades_and_a_success_mends(
    checked: PluginTree, answer: object, reason: str
) -> None:
    answers: list[object] = []
    async with serving(checked, extras={"answers": answers}, **OFTEN) as live:
        answers.append(answer)
        degraded = await live.fact(PluginDegraded)
        assert str(degraded.error) == f"demo/base is not healthy: {reason}"
        await live.fact(PluginRecovered)
        assert not live.status("base").degraded
        assert live.status("base").error is None
        assert live.plugin("base").value() == 1
        assert live.reached(State.TEARING_DOWN) == []


async def test_a_degraded_plugin_is_ready_and_says_why(checked: PluginTree) -> None:
    answers: list[object] = []
    options = {"health_seconds": 0.005, "health_failures": 10**6}
    async with serving(checked, extras={"answers": answers}, **options) as live:
        answers += [DOWN] * 100_000
        await live.fact(PluginDegraded)
        status = live.status("base")
        assert status.degraded
        assert status.state is State.READY
        assert isinstance(status.error, PluginUnhealthy)
        cause = status.error.__cause__
        assert (type(cause), str(cause)) == (type(DOWN), str(DOWN))
        asked = len(answers)
        while len(answers) > asked - 3:
            await anyio.sleep(0.001)
        assert len(live.of(PluginDegraded)) == 1


async def test_three_failures_in_a_row_take_it_down_until_it_is_well_again(
    checked: PluginTree,
) -> None:
    answers: list[object] = []
    options = {"health_seconds": 0.005, "retry_seconds": 0.02}
    async with serving(checked, extras={"answers": answers}, **options) as live:
        answers += [DOWN, DOWN, None, DOWN, DOWN, DOWN]
        failed = await live.fact(ReloadFailed)
        assert failed.errors.keys() == {ref("base")}
        assert len(live.of(PluginDegraded)) == 2
        steps = {(each.ref.name, str(each.to_state)): each for each in live.of(Transition)}
        fall = steps["base", "failed"]
        assert fall.stage is Stage.HEALTH
        assert isinstance(fall.error, PluginUnhealthy)
        assert steps["user", "blocked"].blocked_by == ("demo/base",)
        assert live.reached(State.STOPPED) == ["user", "base"]
        assert (await live.fact(PluginRetrying)).ref == ref("base")
        await live.fact(ReloadCommitted)
        assert live.states == {"base": "ready", "user": "ready"}
        assert not live.status("base").degraded


async def test_the_error_of_a_call_says_why_it_is_down(checked: PluginTree) -> None:
    answers: list[object] = [DOWN] * 3
    options = {"health_seconds": 0.005, "retry_seconds": 0}
    async with serving(checked, extras={"answers": answers}, **options) as live:
        await live.fact(ReloadFailed)
        assert live.states == {"base": "failed", "user": "blocked"}
        with pytest.raises(PluginUnavailable, match=r"not healthy: health\(\) raised Connection"):
            live.plugin("base").value()


async def test_an_edit_makes_a_degraded_plugin_new(checked: PluginTree) -> None:
    answers: list[object] = [DOWN]
    options = {"health_seconds": 0.005, "health_failures": 10**6}
    async with serving(checked, extras={"answers": answers}, **options) as live:
        answers += [DOWN] * 1000
        await live.fact(PluginDegraded)
        edit(checked.root / "base/plugin.py", "def health(", "def well(")
        await live.settle()
        assert live.plugin("base").value() == 1
        assert not live.status("base").degraded
        assert live.status("base").error is None


HANGS = """
import anyio
class Plugin:
    def setup(self, ctx):
        self.asked = ctx.extras["asked"]
        self.under_way = 0
    async def health(self):
        self.asked.append(self.under_way)
        self.under_way += 1
        try:
            await anyio.sleep_forever()
        finally:
            self.under_way -= 1
    def value(self):
        return 1
"""


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_check_that_hangs_has_failed_and_is_never_asked_twice_at_once(
    tree: PluginTree, backend: str
) -> None:
    async def main() -> None:
        tree.plugin("base", code=HANGS)
        asked: list[int] = []
        options = {"health_seconds": 0.001, "health_timeout_seconds": 0.05}
        async with serving(tree, extras={"asked": asked}, **options) as live:
            degraded = await live.fact(PluginDegraded)
            assert "health() did not end within 0.05 s" in str(degraded.error)
            assert getattr(degraded.error, "line", None) == 11
            while len(asked) < 3:
                await anyio.sleep(0.001)
            assert set(asked) == {0}

    anyio.run(main, backend=backend)


STUCK = """
class Plugin:
    def setup(self, ctx):
        self.release = ctx.extras["release"]
    def health(self):
        self.release.wait()
"""


async def test_a_check_that_blocks_its_thread_for_ever_fails_again_and_again(
    tree: PluginTree,
) -> None:
    tree.plugin("base", code=STUCK, manifest='execution_model = "thread_cpu_bound"\n')
    release = threading.Event()
    timings = {"health_seconds": 0.01, "health_timeout_seconds": 0.02, "drain_seconds": 0.01}
    async with serving(tree, extras={"release": release}, retry_seconds=0.02, **timings) as live:
        await live.fact(ReloadFailed)
        status = live.status("base")
        assert str(status.error) == "demo/base is not healthy: health() did not end within 0.02 s"
        await live.fact(ReloadCommitted)  # It is tried again, and asked again.
        live.forget()
        await live.fact(PluginDegraded)
        release.set()


async def test_a_reload_does_not_wait_for_a_check_and_the_check_says_nothing(
    tree: PluginTree,
) -> None:
    tree.plugin("base", code=HANGS)
    asked: list[object] = []
    options = {"health_seconds": 0.005, "health_timeout_seconds": 3600, "drain_seconds": 3600}
    async with serving(tree, extras={"asked": asked}, **options) as live:
        while not asked:
            await anyio.sleep(0.001)
        edit(tree.root / "base/plugin.py", "return 1", "return 2")
        await live.settle()
        assert live.plugin("base").value() == 2
        assert live.of(PluginDegraded) == []


async def test_the_manifest_names_another_method(tree: PluginTree) -> None:
    code = CHECKED.format(kind="def").replace("def health", "def ping")
    tree.plugin("base", code=code, manifest='health_check = "ping"\n')
    async with serving(tree, extras={"answers": [False]}, **OFTEN) as live:
        assert "ping() returned False" in str((await live.fact(PluginDegraded)).error)


async def test_a_name_that_is_wrong_is_reported_and_takes_nothing_down(tree: PluginTree) -> None:
    tree.plugin("base", manifest='health_check = "valu"\n')
    options = {"health_seconds": 0.001, "health_failures": 1}
    async with serving(tree, **options) as live:
        error = (await live.fact(PluginDegraded)).error
        assert isinstance(error, HealthCheckInvalid)
        assert "health_check = 'valu'" in str(error)
        assert "did you mean 'value'?" in str(error)
        await live.server.wait_idle()
        assert live.state("base") is State.READY


async def test_a_check_that_needs_arguments_is_reported_and_takes_nothing_down(
    tree: PluginTree,
) -> None:
    code = "class Plugin:\n    def ping(self, host):\n        return False\n"
    tree.plugin("base", code=code, manifest='health_check = "ping"\n')
    async with serving(tree, health_seconds=0.001, health_failures=1) as live:
        error = (await live.fact(PluginDegraded)).error
        assert "ping() needs arguments" in str(error)
        await live.server.wait_idle()
        assert live.state("base") is State.READY


async def test_something_else_by_the_name_of_health_is_no_check(tree: PluginTree) -> None:
    tree.plugin("clinic", code="class Plugin:\n    def health(self, patient): ...\n")
    tree.plugin("data", code="class Plugin:\n    health = 'good'\n")
    async with serving(tree, **OFTEN) as live:
        assert live.server._loop.health._failures == {}


async def test_a_check_that_ends_with_a_cancellation_of_its_own_fails_and_ends_no_other(
    checked: PluginTree,
) -> None:
    checked.plugin(
        "odd",
        code="""
        import asyncio
        class Plugin:
            async def health(self):
                task = asyncio.create_task(asyncio.sleep(60))
                task.cancel()
                await task
        """,
    )
    answers: list[object] = []
    async with serving(checked, extras={"answers": answers}, **OFTEN) as live:
        fact = await live.fact(PluginDegraded, lambda fact: fact.ref == ref("odd"))
        assert str(fact.error) == "demo/odd is not healthy: health() raised CancelledError"
        answers.append(False)
        await live.fact(PluginDegraded, lambda fact: fact.ref == ref("base"))


async def test_what_an_app_has_set_up_is_asked_too(checked: PluginTree) -> None:
    answers: list[object] = [DOWN]
    registry = PluginRegistry().discover(checked.root)
    await registry.setup_all(context([], registry, answers=answers))
    async with serving(checked, registry=registry, **OFTEN) as live:
        await live.fact(PluginRecovered)
    await registry.teardown_all()


async def test_no_check_runs_for_a_plugin_without_one(tree: PluginTree) -> None:
    tree.plugin("base")
    async with serving(tree, **OFTEN) as live:
        assert live.server._loop.health._failures == {}


async def test_0_switches_it_off(checked: PluginTree) -> None:
    answers: list[object] = [DOWN]
    async with serving(checked, extras={"answers": answers}, health_seconds=0) as live:
        await live.server._loop.health.run()  # It has nothing to do, and ends.
        assert answers == [DOWN]
