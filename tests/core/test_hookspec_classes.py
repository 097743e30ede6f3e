"""Hookspecs as decorated classes, and the built-in kinds."""

from __future__ import annotations

import inspect
from typing import Any, Protocol

import jsonschema_rs
import pytest

from dagstack_dev import (
    ORCHESTRATOR_KIND,
    TOOL_KIND,
    DispatchClass,
    ErrorPolicy,
    HookSpec,
    HookspecsInvalid,
    KindSpec,
    KindUnknown,
    broadcast_collect,
    broadcast_notify,
    capability,
    chain,
    dispatch_class_for,
    hookspecs,
    singleton,
)
from dagstack_dev.core.hookspecs.classes import spec_of
from dagstack_dev.core.hookspecs.kinds import Kinds


@hookspecs(kind="search", kind_api_version="2.1")
class Search(Protocol):
    """Finds things."""

    def setup(self, ctx: Any) -> None: ...

    def matches(self, ctx: Any, query: str) -> bool: ...

    def _private(self) -> None: ...

    @broadcast_collect(error_policy="fail_fast", input_schema={"type": "object"})
    def find(self, ctx: Any, query: str) -> list[str]:
        """All that fits.

        In any order.
        """
        ...

    @broadcast_notify
    def on_change(self, ctx: Any) -> None: ...

    @chain(mcp_exposed=True, mcp_tool_name_template="{plugin}")
    async def rank(self, ctx: Any, value: list[str]) -> list[str]: ...

    @capability
    def parse(self, ctx: Any, text: str) -> str: ...

    @singleton
    def store(self, ctx: Any) -> None: ...


def test_a_class_is_a_spec() -> None:
    assert spec_of(Search) == KindSpec(
        kind="search",
        kind_api_version="2.1",
        description="Finds things.",
        hooks=(
            HookSpec(
                name="find",
                dispatch=DispatchClass.BROADCAST_COLLECT,
                description="All that fits.\n\nIn any order.",
                input_schema={"type": "object"},
                error_policy=ErrorPolicy.FAIL_FAST,
            ),
            HookSpec(name="on_change", dispatch=DispatchClass.BROADCAST_NOTIFY),
            HookSpec(
                name="rank",
                dispatch=DispatchClass.CHAIN,
                mcp_exposed=True,
                mcp_tool_name_template="{plugin}",
            ),
            HookSpec(name="parse", dispatch=DispatchClass.CAPABILITY),
            HookSpec(name="store", dispatch=DispatchClass.SINGLETON),
        ),
    )


def test_a_subclass_is_no_spec_by_itself_but_can_be_one() -> None:
    class Further(Search, Protocol):
        @singleton
        def clear(self, ctx: Any) -> None: ...

    assert spec_of(Further) is None
    spec = spec_of(hookspecs(kind="further")(Further))
    assert spec is not None
    assert [hook.name for hook in spec.hooks] == [
        "find",
        "on_change",
        "rank",
        "parse",
        "store",
        "clear",
    ]
    assert spec.hook("find").error_policy is ErrorPolicy.FAIL_FAST


def test_everything_that_is_wrong_is_reported_with_its_line() -> None:
    class Bad:
        def find(self) -> None: ...

        @chain(error_policy="fail-fast")
        def rank(self) -> None: ...

        @singleton(mcp_tool_name_template="{plugn}")
        def store(self) -> None: ...

    with pytest.raises(HookspecsInvalid) as caught:
        hookspecs(kind="a b", kind_api_version="v1")(Bad)
    problems = {problem.field: problem for problem in caught.value.problems}
    assert problems.keys() == {"kind", "kind_api_version", "find", "rank", "store"}
    assert problems["find"].line == inspect.getsourcelines(Bad.find)[1]
    assert "says not how it is called; decorate it with one of @singleton" in str(caught.value)
    assert "did you mean 'fail_fast'?" in problems["rank"].message
    assert caught.value.path == __file__


def test_the_reserved_hooks_are_all_but_singletons() -> None:
    spec = spec_of(Search)
    assert spec is not None
    assert list(spec.reserved) == ["find", "on_change", "rank", "parse"]


@pytest.mark.parametrize(
    ("kind", "hook", "expected"),
    [
        ("tool", "get_schema", "broadcast_collect"),
        ("tool", "execute", "singleton"),
        ("orchestrator", "enqueue", "singleton"),
        ("orchestrator", "status", "singleton"),
        ("orchestrator", "backfill", "singleton"),
    ],
)
def test_the_hooks_of_built_in_kinds_are_called_as_in_the_original(
    kind: str, hook: str, expected: str
) -> None:
    from dagstack.plugin_system import dispatch_class_for as original

    assert dispatch_class_for(kind, hook) == expected == original(kind, hook)


def test_what_is_not_declared_is_kind_unknown_with_the_close_match() -> None:
    for kind, hook, major, message in (
        ("tol", "execute", 1, "did you mean 'tool'"),
        ("tool", "exeute", 1, "did you mean 'execute'"),
        ("tool", "execute", 2, "kind 'tool 2'"),
    ):
        with pytest.raises(KindUnknown, match=message):
            dispatch_class_for(kind, hook, api_major=major)


def test_an_app_may_declare_a_built_in_kind_in_another_way() -> None:
    own = KindSpec(
        kind="tool", hooks=(HookSpec(name="execute", dispatch=DispatchClass.CAPABILITY),)
    )
    assert dispatch_class_for("tool", "execute", kinds=Kinds([own])) == "capability"


def test_the_schemas_of_built_in_kinds_are_json_schemas() -> None:
    for spec in (TOOL_KIND, ORCHESTRATOR_KIND):
        for hook in spec.hooks:
            for schema in (hook.input_schema, hook.output_schema):
                if schema is not None:
                    jsonschema_rs.meta.validate(dict(schema))
    execute = TOOL_KIND.hook("execute")
    assert (execute.mcp_exposed, execute.mcp_tool_name_template) == (
        True,
        "{kind}.{plugin}.{hook}.{function}",
    )
    assert [hook.name for hook in ORCHESTRATOR_KIND.hooks if hook.mcp_exposed] == []


def test_kinds_are_values() -> None:
    one, two = KindSpec(kind="a"), KindSpec(kind="b")
    assert Kinds([one, two]) == Kinds([one]).with_specs([two])
    assert hash(Kinds([one])) == hash(Kinds([one]))
    assert Kinds([one]) != Kinds([two])
