"""Ready plugins of the kind `demo`, by a line each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from dagstack_dev import DispatchClass, HookSpec, KindSpec, PluginContext, PluginRegistry
from dagstack_dev.core.events import Fact, HookFailed

Put = Callable[..., Any]


def make_plugin(**members: Any) -> Any:
    """An object of a class of its own with these members; functions are methods."""
    return type("Plugin", (), members)()


@pytest.fixture
def plugin(put: Put) -> Put:
    """Register a plugin with these methods; fields of the manifest go into `manifest`."""

    def register(
        name: str, manifest: dict[str, Any] | None = None, /, **methods: Callable[..., Any]
    ) -> Any:
        return put(make_plugin(**methods), name, **(manifest or {}))

    return register


@pytest.fixture
def declare(registry: PluginRegistry) -> Callable[..., None]:
    """Declare the kind `demo` with hooks by name."""

    def declare(**hooks: str) -> None:
        specs = tuple(
            HookSpec(name=name, dispatch=DispatchClass(word)) for name, word in hooks.items()
        )
        registry.add_hookspecs(KindSpec(kind="demo", hooks=specs), replace=True)

    return declare


@pytest.fixture
def failures(facts: list[Fact]) -> Callable[[], list[tuple[str, str, str]]]:
    """Plugin, hook and message of each `HookFailed` so far."""

    def told() -> list[tuple[str, str, str]]:
        return [
            (fact.ref.name, fact.hook, str(fact.error))
            for fact in facts
            if isinstance(fact, HookFailed)
        ]

    return told


@pytest.fixture
async def up(registry: PluginRegistry, ctx: PluginContext) -> Callable[[], Any]:
    """Set everything up that is registered by now."""

    async def set_up() -> None:
        await registry.setup_all(ctx)

    return set_up
