"""The contract suite finds what a plugin does wrong, and nothing in one that does it right."""

from __future__ import annotations

import asyncio
import random
import sys
from datetime import UTC, datetime
from types import ModuleType
from typing import Any

import pytest

from dagstack_dev import (
    ALL_CHECKS,
    AmbientStateError,
    DeterminismError,
    LeakDetected,
    ManifestInvalid,
    PluginContext,
    SerializationError,
    assert_deterministic,
    assert_json_serializable_boundaries,
    assert_lifecycle_clean,
    assert_manifest_valid,
    assert_no_ambient_state,
    run_contract_suite,
)

MANIFEST = {
    "name": "echo",
    "kind": "tool",
    "core_version": ">=0.1",
    "runtime": "in_process",
    "entry_point": "plugin:Echo",
    "depends_on": ["others", "that are not there"],
    "resources": {"required": ["clock", "rng"]},
}


class Echo:
    def setup(self, ctx: PluginContext) -> None:
        self.resources = ctx.resources
        self.ctx = ctx

    def teardown(self) -> None:
        del self.ctx

    def execute(self, args: Any) -> Any:
        return {
            "echo": args,
            "at": str(self.resources.clock.now()),
            "n": self.resources.rng.random(),
        }


class AsyncEcho:
    async def setup(self, ctx: PluginContext) -> None:
        ctx.start_soon(asyncio.Event().wait)

    async def execute(self, args: Any) -> Any:
        await asyncio.sleep(0)
        return args


class Leaky(Echo):
    kept: list[object] = []  # noqa: RUF012 - just that is what is to be found

    def setup(self, ctx: PluginContext) -> None:
        super().setup(ctx)
        self.kept.append(self)


class Busy(AsyncEcho):
    async def setup(self, ctx: PluginContext) -> None:
        self.task = asyncio.create_task(asyncio.sleep(60), name="the busy one")


class Odd:
    def pair(self) -> Any:
        return (1, 2)

    def when(self) -> Any:
        return datetime.now(UTC)

    async def chance(self) -> Any:
        return random.random()


def module(source: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> ModuleType:
    (tmp_path / "ambient_specimen.py").write_text(source, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "ambient_specimen", raising=False)
    return __import__("ambient_specimen")


@pytest.mark.parametrize("cls", [Echo, AsyncEcho])
async def test_a_plugin_without_fault_passes_every_check(cls: type) -> None:
    result = await run_contract_suite(
        cls, MANIFEST, hook_samples={"execute": {"args": {"a": [1, 2.5, None]}}}
    )
    assert result.passed, result.summary()
    assert {each.check_name for each in result.results} == ALL_CHECKS
    assert "skipped: no module" in result.summary()


async def test_every_fault_is_found_in_one_run() -> None:
    result = await run_contract_suite(
        Odd, {**MANIFEST, "priority": "high"}, hook_samples={"chance": {}}
    )
    failed = [each.check_name for each in result.failed]
    assert failed == ["manifest", "lifecycle", "serialization", "determinism"]
    assert not result.ok
    assert "priority" in result.format_failures()


async def test_an_unknown_check_is_refused_with_the_one_that_was_meant() -> None:
    with pytest.raises(ValueError, match="did you mean 'lifecycle'"):
        await run_contract_suite(Echo, MANIFEST, checks={"lifecycel"})


async def test_only_the_checks_asked_for_run() -> None:
    result = await run_contract_suite(Leaky, MANIFEST, checks=["manifest"])
    assert [each.check_name for each in result.results] == ["manifest"]


def test_a_manifest_is_validated_with_all_problems_at_once() -> None:
    assert assert_manifest_valid(MANIFEST).name == "echo"
    with pytest.raises(ManifestInvalid) as caught:
        assert_manifest_valid({"name": "x"})
    assert len(caught.value.problems) > 2


async def test_an_instance_that_is_kept_is_a_leak() -> None:
    with pytest.raises(LeakDetected, match="still referred to after its teardown, by a list"):
        await assert_lifecycle_clean(Leaky, MANIFEST)
    Leaky.kept.clear()


async def test_a_task_that_runs_on_is_a_leak() -> None:
    with pytest.raises(LeakDetected, match=r"the busy one \(.*/tasks\.py:\d+\)"):
        await assert_lifecycle_clean(Busy, MANIFEST)
    for task in asyncio.all_tasks():
        if task.get_name() == "the busy one":
            task.cancel()


async def test_what_the_setup_raises_comes_out() -> None:
    class Broken:
        def setup(self, ctx: PluginContext) -> None:
            raise LookupError("no luck")

    with pytest.raises(LookupError, match="no luck"):
        await assert_lifecycle_clean(Broken, MANIFEST)


@pytest.mark.parametrize(
    ("hook", "words"),
    [
        ("pair", "tuples come back as lists"),
        ("when", "cannot be written as JSON"),
        ("pear", "no hook 'pear'; did you mean 'pair'"),
    ],
)
def test_what_does_not_survive_json_is_reported(hook: str, words: str) -> None:
    with pytest.raises(SerializationError, match=words):
        assert_json_serializable_boundaries(Odd, MANIFEST, hook_samples={hook: {}})


def test_arguments_have_to_survive_json_too() -> None:
    with pytest.raises(SerializationError, match="argument 'args' of execute"):
        assert_json_serializable_boundaries(
            AsyncEcho, MANIFEST, hook_samples={"execute": {"args": {1: 2}}}
        )


@pytest.mark.parametrize("hook", ["chance", "when"])
def test_a_hook_has_to_answer_the_same_each_time(hook: str) -> None:
    with pytest.raises(DeterminismError, match=f"{hook} has answered"):
        assert_deterministic(Odd, MANIFEST, hook_name=hook, hook_kwargs={})


def test_and_as_expected() -> None:
    arguments: dict[str, Any] = {"hook_name": "execute", "hook_kwargs": {"args": {"b": 1, "a": 2}}}
    assert_deterministic(AsyncEcho, MANIFEST, **arguments, expected_output={"a": 2, "b": 1})
    with pytest.raises(DeterminismError, match="was expected"):
        assert_deterministic(AsyncEcho, MANIFEST, **arguments, expected_output={"a": 3})


class Hooked:
    """Its hooks are such as dispatchers call: a context goes first."""

    def find(self, ctx: PluginContext, query: str) -> list[str]:
        ctx.logger.debug("finding")
        return [query]

    async def rank(self, context: PluginContext, value: list[str]) -> list[str]:
        context.logger.debug("ranking")
        return value

    def own(self, ctx: str) -> str:
        return ctx.upper()


HOOKED: dict[str, dict[str, Any]] = {
    "find": {"query": "q"},
    "rank": {"value": ["a"]},
    "own": {"ctx": "mine"},
}


@pytest.mark.parametrize("given", [False, True])
async def test_hooks_are_given_a_context_as_by_dispatchers(
    plugin_context: PluginContext, given: bool
) -> None:
    ctx = plugin_context if given else None
    result = await run_contract_suite(
        Hooked, {**MANIFEST, "depends_on": []}, hook_samples=HOOKED, ctx=ctx
    )
    assert result.passed, result.summary()


def test_one_answer_cannot_be_compared() -> None:
    with pytest.raises(ValueError, match="one answer"):
        assert_deterministic(Odd, MANIFEST, hook_name="pair", hook_kwargs={}, iterations=1)


async def test_the_checks_work_within_an_event_loop_too() -> None:
    assert_deterministic(AsyncEcho, MANIFEST, hook_name="execute", hook_kwargs={"args": 1})


def test_mutable_state_of_a_module_is_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    source = "import collections\ncache = {}\nqueue: list = collections.deque()\n__all__ = ['x']\n"
    specimen = module(source, monkeypatch, tmp_path)
    with pytest.raises(AmbientStateError) as caught:
        assert_no_ambient_state(specimen)
    assert "line 2: cache" in str(caught.value)
    assert "line 3: queue" in str(caught.value)
    assert "__all__" not in str(caught.value)


def test_constants_by_name_are_warnings(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    specimen = module("WORDS = [w for w in 'ab']\nx = (1, 2)\n", monkeypatch, tmp_path)
    report = assert_no_ambient_state(specimen)
    assert [each.name for each in report.warnings] == ["WORDS"]
    assert not report.has_errors
    assert "warning line 1: WORDS" in report.format_report()


def test_a_module_without_source_cannot_be_checked() -> None:
    with pytest.raises(AmbientStateError, match="cannot be read"):
        assert_no_ambient_state(sys)
