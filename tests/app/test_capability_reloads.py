"""Whether a plugin takes an input is for the generation to say that gets it."""

from __future__ import annotations

from typing import Any

import anyio
import pytest
from serving import serving
from trees import PluginTree

from dagstack_dev import (
    CapabilityDispatcher,
    DispatchClass,
    HookSpec,
    KindSpec,
    PluginRegistry,
)

KIND = KindSpec(kind="demo", hooks=(HookSpec(name="parse", dispatch=DispatchClass("capability")),))

PLAIN = """
class Plugin:
    async def setup(self, ctx):
        held = ctx.extras["held"]
        if {version!r} in held:
            entered, go = held[{version!r}]
            entered.set()
            await go.wait()

    def parse(self, ctx, text, language):
        return {version!r}
"""

ASKED = """
    def matches(self, ctx, text, language):
        return {answer}
"""


def write(tree: PluginTree, version: str, answer: bool | None = None) -> None:
    code = PLAIN.format(version=version)
    if answer is not None:
        code += ASKED.format(answer=answer)
    tree.plugin("a", code=code, manifest='supports_languages = ["python"]\n')


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [(None, False, "rest"), (True, None, "new"), (False, None, "new"), (None, True, "new")],
)
async def test_who_is_asked_meanwhile_answers_as_the_new_generation_does(
    tree: PluginTree, before: bool | None, after: bool | None, expected: str
) -> None:
    tree.plugin("b", code=PLAIN.format(version="rest"), manifest="fallback = true\n")
    write(tree, "old", before)
    entered, go = anyio.Event(), anyio.Event()
    registry = PluginRegistry()
    registry.add_hookspecs(KIND)
    dispatcher = CapabilityDispatcher(registry)
    answers: list[Any] = []

    async with (
        serving(tree, registry=registry, extras={"held": {"new": (entered, go)}}) as live,
        anyio.create_task_group() as group,
    ):

        async def ask() -> None:
            answers.append(
                await dispatcher.dispatch_async("demo", "parse", None, "x", language="python")
            )

        await ask()
        write(tree, "new", after)
        group.start_soon(live.settle)
        await entered.wait()
        group.start_soon(ask)
        await anyio.wait_all_tasks_blocked()
        assert len(answers) == 1
        go.set()
    assert answers == ["rest" if before is False else "old", expected]
