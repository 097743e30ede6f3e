"""Exceptions of plugins that raise whatever they are asked: they fail their plugin, and no more."""

from __future__ import annotations

import pytest
from serving import Live, serving
from trees import PluginTree

from dagstack_dev.core.events import PluginDegraded, TeardownFailed, Transition, WatchStopped
from dagstack_dev.core.lifecycle import State

ODD = {
    "any attribute": """
class Odd(Exception):
    def __getattr__(self, name): raise LookupError(name)
""",
    "its text, as an error of the system": """
class Odd(OSError):
    def __str__(self): raise SystemExit
    __repr__ = __str__
    errno = property(__str__)
""",
    "its path, line and notes": """
class Odd(Exception):
    def fail(self): raise LookupError
    path = line = ref = retry_after = __notes__ = sqlite_errorname = is_transient = property(fail)
""",
}

CODE = """
{odd}
import asyncio

class Plugin:
    async def setup(self, ctx):
        {setup}
    async def teardown(self):
        {teardown}
    async def work(self):
        {work}
    def health(self):
        {health}
"""


def odd_plugin(tree: PluginTree, odd: str, **where: str) -> None:
    methods = dict.fromkeys(("setup", "teardown", "work", "health"), "pass")
    tree.plugin("odd", code=CODE.format(odd=ODD[odd], **methods | where))


async def goes_on(live: Live, tree: PluginTree) -> None:
    """Both the odd plugin, once it is mended, and another one are reloaded."""
    tree.plugin("odd", value=7)
    tree.plugin("other", value=8)
    await live.settle()
    assert (live.plugin("odd").value(), live.plugin("other").value()) == (7, 8)


@pytest.mark.parametrize("odd", ODD)
@pytest.mark.parametrize("where", ["setup", "import", "background task"])
async def test_it_fails_its_plugin_alone(tree: PluginTree, odd: str, where: str) -> None:
    tree.plugin("other")
    if where == "setup":
        odd_plugin(tree, odd, setup="raise Odd()")
    elif where == "import":
        tree.plugin("odd", code=f"{ODD[odd]}\nraise Odd()\nclass Plugin: ...\n")
    else:
        odd_plugin(tree, odd, setup="ctx.start_soon(self.work)", work="raise Odd()")
    async with serving(tree, retry_seconds=0) as live:
        await live.fact(Transition, lambda each: each.to_state is State.FAILED)
        await live.server.wait_idle()
        assert live.state("other") is State.READY
        await goes_on(live, tree)
    assert isinstance(live.facts[-1], WatchStopped)


@pytest.mark.parametrize("odd", ODD)
async def test_from_a_teardown_it_is_reported_and_stops_no_other(
    tree: PluginTree, odd: str
) -> None:
    tree.plugin("other")
    odd_plugin(tree, odd, teardown="raise Odd()")
    async with serving(tree) as live:
        await goes_on(live, tree)
        assert live.of(TeardownFailed)
        odd_plugin(tree, odd, teardown="raise Odd()")
        await live.settle()
    assert live.of(TeardownFailed)
    assert live.journal[-1] == "teardown other 8"


@pytest.mark.parametrize("odd", ODD)
async def test_from_a_health_check_it_is_reported(tree: PluginTree, odd: str) -> None:
    tree.plugin("other")
    odd_plugin(tree, odd, health="raise Odd()")
    async with serving(tree, health_seconds=0.01) as live:
        await live.fact(PluginDegraded)
        await goes_on(live, tree)
