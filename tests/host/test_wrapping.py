"""A plugin class around a function that makes something."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from serving import serving
from trees import PluginTree

from dagstack_dev import PluginContext, PluginRegistry, wrap_singleton

Put = Callable[..., Any]


def plain() -> list[str]:
    return ["made"]


def with_context(ctx: PluginContext) -> list[str]:
    return ["made", *ctx.extras]


def with_option(retries: int = 3) -> list[str]:
    return ["made", str(retries)]


async def later() -> list[str]:
    return ["made"]


@pytest.mark.parametrize(
    ("factory", "made"),
    [
        (plain, ["made"]),
        (later, ["made"]),
        (with_context, ["made", "journal", "seen"]),
        (with_option, ["made", "3"]),
        (list, []),
    ],
)
async def test_the_object_is_there_from_setup_to_teardown(
    registry: PluginRegistry, ctx: PluginContext, put: Put, factory: Any, made: list[str]
) -> None:
    cls = wrap_singleton("client", factory, class_name="Client")
    assert (cls.__name__, cls.__module__) == ("Client", __name__)
    plugin = put(cls())
    assert plugin.unwrap() is None
    await registry.setup_all(ctx)
    assert plugin.unwrap() == plugin.client == made
    await registry.teardown_all()
    assert cls().unwrap() is None


async def test_a_plugin_on_disk_may_be_such_a_class(tree: PluginTree) -> None:
    tree.plugin(
        "it",
        code="""
        from dagstack_dev import wrap_singleton

        Plugin = wrap_singleton("client", dict, class_name="Plugin")
        """,
    )
    async with serving(tree) as live:
        assert live.plugin("it").unwrap() == {}
