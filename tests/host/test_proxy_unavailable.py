"""The proxy of a plugin that has no instance answers nothing in its place."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from trees import PluginTree

from dagstack_dev import DevServer, PluginUnavailable

SIZED = """
    class Plugin:
        def __len__(self):
            return 3
        def __eq__(self, other):
            return other == "me"
        def __hash__(self):
            return 7
"""

ASKED: dict[str, Callable[[Any], object]] = {
    "len": len,
    "iter": iter,
    "call": lambda p: p(),
    "in": lambda p: 1 in p,
    "item": lambda p: p[0],
    "with": lambda p: p.__enter__(),
    "bool": bool,
    "equal": lambda p: p == None,  # noqa: E711 - asked of the proxy on purpose
    "unequal": lambda p: p != 1,
    "less": lambda p: p < 1,
    "dir": dir,
    "get": lambda p: p.x,
    "set": lambda p: setattr(p, "x", 1),
    "delete": lambda p: delattr(p, "x"),
}


@asynccontextmanager
async def without_instance(tree: PluginTree, end: str) -> AsyncIterator[Any]:
    """A proxy whose plugin was there and is so no more."""
    base = tree.plugin("base")
    it = tree.plugin("it", code=SIZED, depends_on=["base"])
    async with DevServer(tree.root) as server:
        proxy = server.registry.get_plugin("demo", "it")
        assert len(proxy) == 3
        if end == "failed":
            shutil.rmtree(it)
            await server.wait_idle()
            tree.plugin("it", code="raise LookupError('at import')\nclass Plugin: ...\n")
        else:
            shutil.rmtree(base if end == "blocked" else it)
        await server.wait_idle()
        yield proxy


@pytest.mark.parametrize("end", ["failed", "blocked", "removed"])
async def test_only_showing_and_hashing_is_not_refused(tree: PluginTree, end: str) -> None:
    async with without_instance(tree, end) as proxy:
        for what, ask in ASKED.items():
            with pytest.raises(PluginUnavailable, match="demo/it is unavailable: it "):
                pytest.fail(f"{what} answered {ask(proxy)!r}")
        shown = repr(proxy)
        assert shown.startswith("<unavailable plugin demo/it: it ")
        assert str(proxy) == f"{proxy}" == shown
        assert {proxy: 1}[proxy] == 1


async def test_it_answers_again_once_the_plugin_is_back(tree: PluginTree) -> None:
    folder = tree.plugin("it", code=SIZED)
    async with DevServer(tree.root) as server:
        proxy = server.registry.get_plugin("demo", "it")
        shutil.rmtree(folder)
        await server.wait_idle()
        assert callable(proxy)
        tree.plugin("it", code=SIZED)
        await server.wait_idle()
        assert (len(proxy), callable(proxy), hash(proxy)) == (3, False, 7)
        assert proxy == "me"
