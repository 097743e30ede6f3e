"""What is reported of a section that does not fit, and what is not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, ClassVar

import pytest
from pydantic import create_model

from dagstack_dev import PluginContext, PluginRegistry
from dagstack_dev.core.errors.files import ConfigSectionInvalid


class Reads:
    def setup(self, ctx: PluginContext) -> None: ...


async def test_each_key_that_is_missing_is_reported(
    put: Callable[..., Any], registry: PluginRegistry, ctx: PluginContext
) -> None:
    put(Reads(), config_schema={"required": ["host", "port"]})
    with pytest.raises(ConfigSectionInvalid) as caught:
        await registry.setup_all(replace(ctx, config={"demo": {"it": {}}}))
    assert [each.field for each in caught.value.problems] == ["demo.it.host", "demo.it.port"]


@pytest.mark.parametrize("own", [3, "hunter2", [{"host": "here"}]])
async def test_a_section_that_is_no_table_is_refused(
    put: Callable[..., Any], registry: PluginRegistry, ctx: PluginContext, own: object
) -> None:
    put(Reads())
    with pytest.raises(ConfigSectionInvalid) as caught:
        await registry.setup_all(replace(ctx, config={"demo": {"it": own, "other": {}}}))
    assert "demo.it: is no table; write [demo.it]" in str(caught.value)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    "schema",
    [
        {"properties": {"api_key": {"type": "integer"}}},
        {"properties": {"api_key": {"pattern": "^sk-"}}},
        {"anyOf": [{"required": ["host"]}, {"required": ["port"]}]},
    ],
)
async def test_no_secret_is_shown(
    put: Callable[..., Any],
    registry: PluginRegistry,
    ctx: PluginContext,
    schema: dict[str, Any],
) -> None:
    put(Reads(), config_schema=schema)
    config = {"demo": {"it": {"api_key": "hunter2"}}}
    with pytest.raises(ConfigSectionInvalid, match=r"must be of type|does not fit") as caught:
        await registry.setup_all(replace(ctx, config=config))
    assert "hunter2" not in str(caught.value)


async def test_a_model_shows_no_secret_either(
    put: Callable[..., Any], registry: PluginRegistry, ctx: PluginContext
) -> None:
    class WithSecret(Reads):
        config_schema: ClassVar[object] = create_model("Model", api_token=(int, ...))

    put(WithSecret())
    config = {"demo": {"it": {"api_token": "hunter2"}}}
    with pytest.raises(ConfigSectionInvalid, match="should be a valid integer") as caught:
        await registry.setup_all(replace(ctx, config=config))
    assert "hunter2" not in str(caught.value)
