"""`setup_all` on a registry where something has been set up before."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from trees import PluginTree

from dagstack_dev import (
    DevServer,
    ManifestInvalid,
    PluginContext,
    PluginLoadError,
    PluginRef,
    PluginRegistry,
    State,
)

BROKEN = "raise LookupError('broken')\nclass Plugin: ...\n"
IMPORTS_ONCE = """
    import builtins
    if not getattr(builtins, "dagstack_test_mended", False):
        raise LookupError("broken")
    class Plugin:
        def value(self):
            return 2
"""


class Noting:
    """Writes its life into the journal of the context."""

    def __init__(self, name: str, error: Exception | None = None) -> None:
        self.name = name
        self.error = error

    def setup(self, ctx: PluginContext) -> None:
        self.journal = ctx.extras["journal"]
        if self.error is not None:
            raise self.error
        self.journal.append(f"setup {self.name}")

    def teardown(self) -> None:
        self.journal.append(f"teardown {self.name}")


async def test_what_was_registered_since_is_set_up_and_the_rest_left_alone(
    registry: PluginRegistry, ctx: PluginContext, put: Callable[..., Any], journal: list[str]
) -> None:
    put(Noting("early"), "early")
    await registry.setup_all(ctx)
    put(Noting("late"), "late", depends_on=["early"])
    await registry.setup_all(ctx)
    await registry.setup_all(ctx)
    assert journal == ["setup early", "setup late"]
    await registry.teardown_all()
    assert journal[2:] == ["teardown late", "teardown early"]


async def test_a_late_failure_takes_down_what_its_own_call_set_up_only(
    registry: PluginRegistry, ctx: PluginContext, put: Callable[..., Any], journal: list[str]
) -> None:
    put(Noting("early"), "early")
    await registry.setup_all(ctx)
    put(Noting("late"), "late")
    failing = Noting("failing", LookupError("no"))
    put(failing, "failing", depends_on=["late"])
    with pytest.raises(LookupError, match="no"):
        await registry.setup_all(ctx)
    assert journal == ["setup early", "setup late", "teardown late"]
    states = {ref.name: status.state for ref, status in registry.statuses().items()}
    assert states == {"early": State.READY, "late": State.LOADED, "failing": State.LOADED}
    assert registry.is_set_up

    failing.error = None
    await registry.setup_all(ctx)
    assert {status.state for status in registry.statuses().values()} == {State.READY}
    await registry.teardown_all()


async def test_what_a_server_could_not_load_is_loaded_again(
    tree: PluginTree,
    registry: PluginRegistry,
    ctx: PluginContext,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tree.plugin("base", code=IMPORTS_ONCE)
    tree.plugin("user", depends_on=["base"])
    async with DevServer(tree.root, context=ctx):
        states = {ref.name: status.state for ref, status in registry.statuses().items()}
        assert states == {"base": State.FAILED, "user": State.BLOCKED}
    monkeypatch.setattr("builtins.dagstack_test_mended", True, raising=False)
    await registry.setup_all(ctx)
    assert {status.state for status in registry.statuses().values()} == {State.READY}
    assert registry.get_plugin("demo", "base").value() == 2
    assert registry.get_plugin("demo", "user").value() == 1
    await registry.teardown_all()


async def test_what_cannot_be_loaded_keeps_everything_from_being_set_up(
    tree: PluginTree, registry: PluginRegistry, ctx: PluginContext, journal: list[str]
) -> None:
    tree.plugin("fine")
    tree.plugin("broken", code=BROKEN)
    tree.plugin("wrong", manifest='startup_timeout_sec = "soon"\n')
    async with DevServer(tree.root, context=ctx):
        assert journal == ["setup fine 1"]
    journal.clear()
    with pytest.raises((PluginLoadError, ManifestInvalid)) as caught:
        await registry.setup_all(ctx)
    assert isinstance(caught.value, PluginLoadError | ManifestInvalid)
    errors = [caught.value, *caught.value.others]
    assert {type(error) for error in errors} == {PluginLoadError, ManifestInvalid}
    assert {error.ref for error in errors} == {
        PluginRef("demo", "broken"),
        PluginRef("demo", "wrong"),
    }
    assert journal == []
    assert not registry.is_set_up
