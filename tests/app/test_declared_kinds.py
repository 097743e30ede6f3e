"""Under a dev server, what a hookspec rules out is rejected like any other bad edit."""

from __future__ import annotations

from pathlib import Path

import anyio
import pytest
from command_runs import GUARD_SECONDS
from serving import edit, serving
from trees import PluginTree

from dagstack_dev import (
    AmbiguousPlugin,
    DispatchMismatch,
    HookspecMissing,
    HookspecsInvalid,
    KindSpec,
    KindVersionIncompatible,
    PluginRegistry,
    State,
)
from dagstack_dev.core.events import PluginRejected, Transition


def declared(*kinds: str) -> PluginRegistry:
    registry = PluginRegistry()
    registry.add_hookspecs(*(KindSpec(kind=kind) for kind in kinds))
    return registry


async def test_an_edit_to_an_unknown_kind_is_rejected_and_what_runs_goes_on(
    tree: PluginTree,
) -> None:
    tree.plugin("a")
    async with serving(tree, registry=declared("demo")) as live:
        plugin = live.plugin("a")
        edit(tree.root / "a/dagstack.toml", '"demo"', '"dmo"')
        await live.settle()
        [fact] = live.of(PluginRejected)
        assert isinstance(fact.error, HookspecMissing)
        assert (fact.error.path, fact.error.line) == (f"{tree.root}/a/dagstack.toml", 3)
        assert "did you mean 'demo'?" in str(fact.error)
        assert (plugin.value(), live.status("a").pending) == (1, True)
        edit(tree.root / "a/dagstack.toml", '"dmo"', '"demo"')
        await live.settle()
        assert not live.status("a").pending


async def test_an_edit_to_another_version_of_the_kind_is_rejected(tree: PluginTree) -> None:
    tree.plugin("a")
    async with serving(tree, registry=declared("demo")) as live:
        tree.plugin("a", manifest='kind_api_version = "2"\n')
        await live.settle()
        assert isinstance(live.status("a").error, KindVersionIncompatible)
        assert live.plugin("a").value() == 1


async def test_at_the_start_such_a_plugin_fails_alone(tree: PluginTree) -> None:
    tree.plugin("a")
    tree.plugin("b", kind="other")
    async with serving(tree, registry=declared("demo")) as live:
        assert live.states == {"a": "ready", "b": "failed"}
        assert isinstance(live.status("b", "other").error, HookspecMissing)
        edit(tree.root / "b/dagstack.toml", '"other"', '"demo"')
        await live.settle()
        assert live.states == {"a": "ready", "b": "ready"}


async def test_a_second_fallback_waits_until_the_first_lets_go(tree: PluginTree) -> None:
    tree.plugin("a", manifest="fallback = true\n")
    tree.plugin("b")
    tree.plugin("c", kind="other", manifest="fallback = true\n")
    async with serving(tree) as live:
        assert set(live.states.values()) == {"ready"}
        tree.plugin("b", value=2, manifest="fallback = true\n")
        await live.settle()
        assert isinstance(live.status("b").error, AmbiguousPlugin)
        assert live.plugin("b").value() == 1
        tree.plugin("a", value=2, manifest="fallback = true\n")  # It was first, and may change.
        await live.settle()
        assert live.plugin("a").value() == 2
        tree.plugin("a", value=3)
        await live.settle()
        assert (live.plugin("a").value(), live.plugin("b").value()) == (3, 2)
        assert live.server.registry.get_plugin("demo", "b") is live.plugin("b")


async def test_two_fallbacks_at_the_start_are_both_refused(tree: PluginTree) -> None:
    tree.plugin("a", manifest="fallback = true\n")
    tree.plugin("b", manifest="fallback = true\n")
    async with serving(tree) as live:
        assert live.states == {"a": "failed", "b": "failed"}
        assert isinstance(live.status("a").error, AmbiguousPlugin)
        tree.plugin("a")
        await live.settle()
        assert live.states == {"a": "ready", "b": "ready"}


async def test_a_fallback_by_hand_is_the_kinds_fallback(tree: PluginTree) -> None:
    registry = PluginRegistry()
    manifest = {
        "name": "own",
        "kind": "demo",
        "core_version": ">=0.1",
        "runtime": "in_process",
        "entry_point": "plugin:Plugin",
        "fallback": True,
    }
    registry.register_manifest(manifest, object())
    tree.plugin("a", manifest="fallback = true\n")
    async with serving(tree, registry=registry) as live:
        assert live.state("own") is State.READY
        assert isinstance(live.status("a").error, AmbiguousPlugin)


SPECS = "kind: {kind}\nkind_api_version: {version}\nhooks:\n  - {{name: value, dispatch: {word}}}\n"


def specs(path: Path, *, kind: str = "demo", version: str = "1", word: str = "singleton") -> None:
    path.write_text(SPECS.format(kind=kind, version=version, word=word), encoding="utf-8")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "kinds.yaml"
    specs(path)
    return path


async def test_a_file_declares_kinds_while_the_server_runs(tree: PluginTree, file: Path) -> None:
    tree.plugin("a")
    tree.plugin("b", kind="other")
    registry = PluginRegistry()
    async with serving(tree, registry=registry, hookspec_files=(file,)) as live:
        assert live.states == {"a": "ready", "b": "failed"}
        assert set(registry.kinds.specs) == {"demo"}
        specs(file, word="chain")
        await live.settle()
        with pytest.raises(DispatchMismatch, match="use ChainDispatcher"):
            live.plugin("a").value()
    assert not registry.kinds


async def test_files_are_named_by_text_too(tree: PluginTree, file: Path, tmp_path: Path) -> None:
    tree.plugin("a")
    config = tmp_path / "config.toml"
    config.write_text("[demo.a]\nx = 1\n")
    files = {"hookspec_files": (str(file),), "config_file": str(config)}
    async with serving(tree, **files) as live:
        assert set(live.server.registry.kinds.specs) == {"demo"}
        edit(config, "x = 1", "x = 2")
        await live.settle()
        assert live.affected == {"a"}


async def test_what_runs_goes_on_when_its_kind_is_declared_no_longer(
    tree: PluginTree, file: Path
) -> None:
    tree.plugin("a")
    tree.plugin("b", kind="other")
    async with serving(tree, hookspec_files=(file,)) as live:
        specs(file, kind="other")
        await live.settle()
        assert live.states == {"a": "ready", "b": "ready"}
        assert isinstance(live.status("a").error, HookspecMissing)
        assert (live.plugin("a").value(), live.status("a").pending) == (1, True)
        specs(file, version="1.5")
        await live.settle()
        assert not live.status("a").pending
        assert live.status("b", "other").pending


async def test_a_kind_and_its_plugins_can_be_renamed_together(tree: PluginTree, file: Path) -> None:
    tree.plugin("a")
    async with serving(tree, hookspec_files=(file,)) as live:
        specs(file, kind="renamed", version="2")
        tree.plugin("a", kind="renamed", manifest='kind_api_version = "2"\n')
        await live.settle()
        assert live.states == {"a": "ready"}
        assert live.plugin("a", "renamed").value() == 1
        assert not live.status("a", "renamed").pending


async def test_a_file_that_cannot_be_used_is_reported_once_and_changes_nothing(
    tree: PluginTree, file: Path
) -> None:
    tree.plugin("a")
    async with serving(tree, hookspec_files=(file,)) as live:
        before = live.server.registry.kinds
        specs(file, word="chian")
        await live.settle()
        await live.server.wait_idle()
        [fact] = live.of(PluginRejected)
        assert (fact.ref, fact.path) == (None, str(file))
        assert isinstance(fact.error, HookspecsInvalid)
        assert fact.error.line == 4
        assert live.server.registry.kinds == before
        file.write_text("", encoding="utf-8")
        await live.settle()
        [fact] = live.of(PluginRejected)
        assert "is empty" in str(fact.error)


async def test_a_saved_file_is_seen_by_itself(tree: PluginTree, file: Path) -> None:
    tree.plugin("b", kind="other")
    async with serving(tree, hookspec_files=(file,)) as live:
        specs(file, kind="other")
        with anyio.fail_after(GUARD_SECONDS):
            await live.fact(Transition, lambda fact: fact.to_state is State.READY)
        assert live.states == {"b": "ready"}


async def test_a_file_that_cannot_be_read_keeps_the_server_from_starting(
    tree: PluginTree, tmp_path: Path
) -> None:
    with pytest.raises(HookspecsInvalid, match=r"kinds.yaml: cannot be read: No such file"):
        async with serving(tree, hookspec_files=(tmp_path / "kinds.yaml",)):
            pass


async def test_a_registry_that_does_not_comply_keeps_it_from_starting(
    tree: PluginTree, file: Path
) -> None:
    tree.plugin("b", kind="other")
    registry = PluginRegistry().discover(tree.root)
    with pytest.raises(HookspecMissing, match="other/b"):
        async with serving(tree, registry=registry, hookspec_files=(file,)):
            pass


def test_a_registry_takes_the_path_of_a_file(file: Path) -> None:
    registry = PluginRegistry()
    registry.add_hookspecs(str(file))
    registry.add_hookspecs(file)
    assert registry.kinds.specs["demo"].hook("value").dispatch == "singleton"


async def test_kinds_that_the_app_declares_meanwhile_count_with_the_next_save(
    tree: PluginTree,
) -> None:
    tree.plugin("a")
    tree.plugin("b", kind="other")
    async with serving(tree, registry=declared("demo")) as live:
        assert live.states == {"a": "ready", "b": "failed"}
        live.server.registry.add_hookspecs(KindSpec(kind="other"))
        await live.settle()
        assert live.states == {"a": "ready", "b": "ready"}


async def test_a_fallback_that_runs_on_after_a_bad_edit_is_still_the_first(
    tree: PluginTree,
) -> None:
    tree.plugin("a", manifest="fallback = true\n")
    tree.plugin("b")
    async with serving(tree) as live:
        edit(tree.root / "a/dagstack.toml", 'name = "a"', 'name = "a"\nnonsense = 1')
        tree.plugin("b", value=2, manifest="fallback = true\n")
        await live.settle()
        assert isinstance(live.status("b").error, AmbiguousPlugin)
        assert (live.plugin("a").value(), live.plugin("b").value()) == (1, 1)
        edit(tree.root / "a/dagstack.toml", "nonsense = 1", "")
        await live.settle()
        assert (live.status("a").pending, live.status("b").pending) == (False, True)


async def test_what_the_app_declares_meanwhile_outlasts_a_save_and_the_server(
    tree: PluginTree, file: Path
) -> None:
    tree.plugin("a")
    registry = PluginRegistry()
    async with serving(tree, registry=registry, hookspec_files=(file,)) as live:
        registry.add_hookspecs(KindSpec(kind="late"))
        specs(file, version="1.5")
        await live.settle()
        assert set(registry.kinds.specs) == {"demo", "late"}
    assert set(registry.kinds.specs) == {"late"}
