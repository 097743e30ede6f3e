"""The picture of the running plugins: it shows what `status` shows, and does not jump."""

from __future__ import annotations

from typing import Any
from unittest.mock import ANY

import pytest
from answering import answering
from trees import PluginTree

from dagstack_dev.api.client import ApiError

BROKEN = "class Plugin:\n    def setup(self, ctx):\n        1 / 0\n"


@pytest.fixture
def family(tree: PluginTree) -> PluginTree:
    """A chain of four, and one beside them."""
    for name, below in (
        ("base", []),
        ("low", ["base"]),
        ("mid", ["low"]),
        ("top", ["mid", "base"]),
    ):
        tree.plugin(name, depends_on=below)
    tree.plugin("beside")
    return tree


def named(graph: dict[str, Any]) -> list[str]:
    return [each["plugin"].removeprefix("demo/") for each in graph["nodes"]]


async def test_it_shows_the_plugins_and_the_dependencies_of_status(family: PluginTree) -> None:
    family.plugin("broken", code=BROKEN)
    family.plugin("above", depends_on=["broken"])
    family.plugin("lonely", depends_on=["nobody"])
    async with answering(family) as server:
        plugins = await server.wait()
        graph = await server.get("graph")
        assert sorted(named(graph)) == sorted(plugins)
        assert sorted(map(tuple, graph["edges"])) == sorted(
            (each["plugin"], other)
            for each in plugins.values()
            for other in each["depends_on"]
            if other != "nobody"
        )
        nodes = {each["plugin"]: each for each in graph["nodes"]}
        for one, other in graph["edges"]:
            assert nodes[one]["x"] > nodes[other]["x"] + nodes[other]["width"]


async def test_no_box_moves_while_no_dependency_changes(family: PluginTree) -> None:
    async with answering(family) as server:
        before = await server.get("graph")
        family.plugin("mid", depends_on=["low"], code=BROKEN)
        assert (await server.wait())["mid"]["receipt"]["pending"]
        assert await server.get("graph") == before
        family.plugin("mid", depends_on=["low", "beside"])
        await server.wait()
        after = await server.get("graph")
        assert after["topology"] != before["topology"]
        assert ["demo/mid", "demo/beside"] in after["edges"]
        family.plugin("mid", depends_on=["low"])
        await server.wait()
        assert await server.get("graph") == before


@pytest.mark.parametrize(
    ("around", "depth", "shown"),
    [
        (["low"], None, ["base", "low", "mid", "top"]),
        (["low"], 0, ["low"]),
        (["low"], 1, ["base", "low", "mid"]),
        (["base"], 1, ["base", "low", "top"]),
        (["low", "beside"], 1, ["base", "beside", "low", "mid"]),
        ([], 1, ["base", "beside", "low", "mid", "top"]),
    ],
)
async def test_around_plugins_is_what_is_connected_with_them(
    family: PluginTree, around: list[str], depth: int | None, shown: list[str]
) -> None:
    async with answering(family) as server:
        refs = [f"demo/{each}" for each in around]
        graph = await server.get("graph", around=refs, depth=depth)
        assert named(graph) == shown
        assert {name for edge in graph["edges"] for name in edge} <= {f"demo/{n}" for n in shown}


@pytest.fixture
def folders(tree: PluginTree) -> PluginTree:
    """Two folders with two plugins each, and a plugin beside them."""
    tree.plugin("store", folder="base/store")
    tree.plugin("cache", folder="base/cache", depends_on=["store"])
    tree.plugin("chat", folder="tools/chat", kind="tool", depends_on=["store", "cache"])
    tree.plugin("code", folder="tools/code", kind="tool", depends_on=["store"])
    tree.plugin("alone", kind="tool", depends_on=["chat"])
    return tree


async def test_the_plugins_of_a_folder_are_one_node(folders: PluginTree) -> None:
    async with answering(folders) as server:
        graph = await server.get("graph", fold="folder")
        assert graph["groups"] == [
            {"name": ".", "size": 1},
            {"name": "base", "size": 2},
            {"name": "tools", "size": 2},
        ]
        members = {each["group"]: each["plugins"] for each in graph["nodes"]}
        assert members == {
            None: [],
            "base": ["demo/cache", "demo/store"],
            "tools": ["tool/chat", "tool/code"],
        }
        assert [each["plugin"] for each in graph["nodes"]].count("tool/alone") == 1
        assert sorted(graph["edges"]) == [["tool/alone", "tools/*"], ["tools/*", "base/*"]]
        layers = {each["group"]: each["layer"] for each in graph["nodes"]}
        assert layers == {"base": 0, "tools": 1, None: 2}
        widths = {each["group"]: each["width"] for each in graph["nodes"]}
        assert widths["tools"] == 8 * len("tools/* 2") + 20


async def test_a_group_can_be_opened(folders: PluginTree) -> None:
    async with answering(folders) as server:
        folded = await server.get("graph", fold="kind")
        assert [each["group"] for each in folded["nodes"]] == ["demo", "tool"]
        opened = await server.get("graph", fold="kind", open=["demo", "nothing"])
        assert opened["groups"] == folded["groups"]
        nodes = [(each["plugin"], each["group"]) for each in opened["nodes"]]
        assert nodes == [("demo/cache", None), ("demo/store", None), (None, "tool")]
        assert sorted(opened["edges"]) == [
            ["demo/cache", "demo/store"],
            ["tool/*", "demo/cache"],
            ["tool/*", "demo/store"],
        ]
        assert await server.get("graph", fold="kind", open=["demo", "tool"]) == (
            await server.get("graph")
        ) | {"groups": folded["groups"], "topology": ANY}


async def test_the_neighbourhood_of_a_plugin_is_folded_too(folders: PluginTree) -> None:
    async with answering(folders) as server:
        graph = await server.get("graph", around="tool/code", fold="kind")
        assert graph["groups"] == [{"name": "demo", "size": 1}, {"name": "tool", "size": 1}]
        assert graph["edges"] == [["tool/code", "demo/store"]]
        with pytest.raises(ApiError, match="neither 'kind' nor 'folder'"):
            await server.get("graph", fold="colour")


async def test_a_plugin_that_moves_into_a_group_changes_the_digest(folders: PluginTree) -> None:
    async with answering(folders) as server:
        before = await server.get("graph", fold="kind")
        folders.plugin("more", kind="tool", folder="tools/more")
        await server.wait()
        after = await server.get("graph", fold="kind")
        assert after["edges"] == before["edges"]
        assert after["topology"] != before["topology"]


async def test_around_a_plugin_that_is_not_there_is_a_problem(family: PluginTree) -> None:
    async with answering(family) as server:
        with pytest.raises(ApiError, match="did you mean 'demo/base'"):
            await server.get("graph", around="demo/bse")
        with pytest.raises(ApiError, match="depth is not a whole number"):
            await server.get("graph", around="demo/base", depth="x")
