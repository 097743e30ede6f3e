"""Which folder a plugin runs from, through moves and renames that go wrong half-way."""

from __future__ import annotations

import shutil

from trees import PluginTree

from dagstack_dev import DevServer, PluginRef


def states_of(server: DevServer) -> dict[str, str]:
    return {str(ref): status.state.value for ref, status in server.statuses().items()}


BROKEN = """
class Plugin:
    def setup(self, ctx):
        raise ValueError("no")
"""


async def test_a_plugin_that_moved_while_pending_is_not_left_behind_by_a_rename(
    tree: PluginTree,
) -> None:
    tree.plugin("b")
    async with DevServer(tree.root) as server:
        tree.plugin("b", depends_on=["nowhere"])
        await server.wait_idle()
        (tree.root / "b").rename(tree.root / "e")
        await server.wait_idle()
        tree.plugin("e")
        await server.wait_idle()
        assert states_of(server) == {"demo/e": "ready"}


async def test_a_folder_replaced_by_another_plugin_takes_its_own_plugin_with_it(
    tree: PluginTree,
) -> None:
    tree.plugin("a")
    tree.plugin("g", folder="f")
    async with DevServer(tree.root) as server:
        shutil.rmtree(tree.root / "f")
        (tree.root / "a").rename(tree.root / "f")
        tree.plugin("a", folder="f", code=BROKEN)
        await server.wait_idle()
        assert states_of(server) == {"demo/a": "ready", "demo/g": "ready"}, "rolled back"
        tree.plugin("z", folder="f")
        await server.wait_idle()
        assert states_of(server) == {"demo/z": "ready"}


async def test_mending_the_code_of_a_plugin_that_never_ran_keeps_its_manifest(
    tree: PluginTree,
) -> None:
    tree.plugin("a", code="class Plugin(:\n")
    async with DevServer(tree.root) as server:
        assert states_of(server) == {"demo/a": "failed"}
        tree.write("a/plugin.py", "class Plugin: pass\n")
        await server.wait_idle()
        assert states_of(server) == {"demo/a": "ready"}


async def test_a_new_plugin_comes_up_though_its_dependent_is_rolled_back(
    tree: PluginTree,
) -> None:
    tree.plugin("d")
    async with DevServer(tree.root) as server:
        tree.plugin("n")
        tree.plugin("d", depends_on=["n"], code=BROKEN)
        await server.wait_idle()
        assert states_of(server) == {"demo/d": "ready", "demo/n": "ready"}
        assert server.statuses()[PluginRef("demo", "d")].pending
        tree.plugin("d", depends_on=["n"], value=3)
        await server.wait_idle()
        assert states_of(server) == {"demo/d": "ready", "demo/n": "ready"}


async def test_a_folder_that_claims_a_running_plugin_gives_up_the_failed_one_it_had(
    tree: PluginTree,
) -> None:
    tree.plugin("e")
    tree.plugin("f", code=BROKEN)
    async with DevServer(tree.root) as server:
        assert states_of(server) == {"demo/e": "ready", "demo/f": "failed"}
        tree.plugin("e", folder="f")
        await server.wait_idle()
        assert states_of(server) == {"demo/e": "ready"}
        shutil.rmtree(tree.root / "e")
        await server.wait_idle()
        assert states_of(server) == {"demo/e": "ready"}
        assert server.statuses().popitem()[1].path == str(tree.root / "f")
