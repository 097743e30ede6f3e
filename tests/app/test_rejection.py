"""What cannot even be prepared never touches what runs."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from serving import Live, edit, ref, serving
from trees import PluginTree

from dagstack_dev import (
    AmbiguousPlugin,
    DependencyCycle,
    DependencyMissing,
    ManifestInvalid,
    PluginLoadError,
    RuntimeNotSupported,
    State,
    VersionIncompatible,
)
from dagstack_dev.core.events import (
    PluginRejected,
    ReloadCommitted,
    ReloadRolledBack,
    ReloadSkipped,
    ReloadStarted,
    Transition,
)

Break = Callable[[PluginTree], object]


def in_manifest(old: str, new: str) -> Break:
    return lambda tree: edit(tree.root / "base/dagstack.toml", old, new)


def in_code(text: str) -> Break:
    return lambda tree: tree.write("base/plugin.py", text)


BREAKS = {
    "not TOML": (in_manifest("[plugin]", "[plugin"), ManifestInvalid),
    "unknown key": (in_manifest("depends_on", "depend_on"), ManifestInvalid),
    "wrong type": (in_manifest('kind = "demo"', "kind = 1"), ManifestInvalid),
    "syntax error": (in_code("class Plugin:\n    def setup(self\n"), PluginLoadError),
    "unknown class": (in_code("class Plugins: pass"), PluginLoadError),
    "empty entry file": (in_code(""), PluginLoadError),
    "entry file gone": (lambda tree: (tree.root / "base/plugin.py").unlink(), ManifestInvalid),
    "not UTF-8": (
        lambda tree: (tree.root / "base/plugin.py").write_bytes(b"class Plugin: x = '\xff'"),
        PluginLoadError,
    ),
    "wrong core_version": (in_manifest(">=0.1.0,<1.0.0", ">=7"), VersionIncompatible),
    "unsupported runtime": (in_manifest("in_process", "elsewhere"), RuntimeNotSupported),
    "cycle": (in_manifest("depends_on = []", 'depends_on = ["user"]'), DependencyCycle),
    "cycle of one": (in_manifest("depends_on = []", 'depends_on = ["base"]'), DependencyCycle),
    "missing dependency": (
        in_manifest("depends_on = []", 'depends_on = ["nowhere"]'),
        DependencyMissing,
    ),
}


@pytest.mark.parametrize(("break_it", "error"), BREAKS.values(), ids=BREAKS.keys())
async def test_a_rejected_edit_leaves_everything_running_until_it_is_mended(
    tree: PluginTree, break_it: Break, error: type[Exception]
) -> None:
    folder = tree.plugin("base")
    tree.plugin("user", depends_on=["base"])
    async with serving(tree) as live:
        kept = [live.instance(name) for name in ("base", "user")]
        break_it(tree)
        await live.settle()

        assert live.journal == []
        assert live.of(Transition) == []
        assert live.of(ReloadStarted) == []
        assert [live.instance(name) for name in ("base", "user")] == kept
        status = live.status("base")
        assert (status.state, status.generation, status.pending) == (State.READY, 1, True)
        assert isinstance(status.error, error)
        [rejected] = live.of(PluginRejected)
        assert (rejected.ref, rejected.keeps_generation) == (ref("base"), 1)
        assert rejected.path == str(folder)
        assert rejected.error is status.error
        assert not live.status("user").pending

        tree.plugin("base", value=2)
        await live.settle()
        assert live.outcomes == [ReloadCommitted]
        assert live.plugin("base").value() == 2
        status = live.status("base")
        assert (status.state, status.generation) == (State.READY, 2)
        assert (status.pending, status.error) == (False, None)


async def test_going_back_to_the_running_text_ends_the_pending_state(tree: PluginTree) -> None:
    tree.plugin("base")
    async with serving(tree) as live:
        tree.write("base/plugin.py", "class Plugin(")
        await live.settle()
        assert live.status("base").pending
        tree.plugin("base")
        await live.settle()
        assert not live.status("base").pending
        assert live.plugin("base").value() == 1


async def test_a_rejection_is_reported_once_and_again_when_it_reads_differently(
    tree: PluginTree,
) -> None:
    tree.plugin("base")
    tree.plugin("other")
    async with serving(tree) as live:
        tree.write("base/plugin.py", "class Plugin(")
        await live.settle()
        assert len(live.of(PluginRejected)) == 1
        for value in (2, 3):
            tree.plugin("other", value=value)
            await live.settle()
            assert live.of(PluginRejected) == []
            assert live.outcomes == [ReloadCommitted]
            assert live.affected == {"other"}
            assert live.status("base").pending
        tree.write("base/plugin.py", "class Plugin:\n    def value(\n")
        await live.settle()
        assert len(live.of(PluginRejected)) == 1


async def test_the_same_mistake_made_again_after_mending_is_reported_again(
    tree: PluginTree,
) -> None:
    tree.plugin("base")
    async with serving(tree) as live:
        for value in (2, 3):
            tree.write("base/plugin.py", "class Plugin(")
            await live.settle()
            assert len(live.of(PluginRejected)) == 1
            tree.plugin("base", value=value)
            await live.settle()
            assert live.outcomes == [ReloadCommitted]


async def test_a_plugin_broken_from_the_start_is_not_reported_with_every_batch(
    tree: PluginTree,
) -> None:
    tree.plugin("broken", code="class Plugin(")
    tree.plugin("waiting", depends_on=["broken"])
    tree.plugin("fine")
    async with serving(tree) as live:
        assert live.states == {"broken": "failed", "waiting": "blocked", "fine": "ready"}
        tree.plugin("fine", value=2)
        await live.settle()
        assert live.outcomes == [ReloadCommitted]
        assert {each.ref.name for each in live.of(Transition)} == {"fine"}


async def test_a_broken_manifest_without_a_name_is_reported_once_without_a_plugin(
    tree: PluginTree,
) -> None:
    tree.plugin("fine")
    tree.write("nameless/dagstack.toml", "[plugin]\nkind = 1\n")
    async with serving(tree) as live:
        [rejected] = live.of(PluginRejected)
        assert rejected.ref is None
        assert rejected.keeps_generation is None
        tree.plugin("fine", value=2)
        await live.settle()
        assert live.of(PluginRejected) == []
        tree.plugin("named", folder="nameless")
        await live.settle()
        assert live.states == {"fine": "ready", "named": "ready"}


async def test_a_second_plugin_of_the_same_name_makes_a_bare_dependency_ambiguous(
    tree: PluginTree,
) -> None:
    tree.plugin("base")
    tree.plugin("user", depends_on=["base"])
    async with serving(tree) as live:
        kept = live.instance("user")
        twin = tree.plugin("base", kind="other", folder="twin")
        await live.settle()
        assert live.state("base", "other") is State.READY
        assert live.instance("user") is kept
        assert live.status("user").pending
        assert isinstance(live.status("user").error, AmbiguousPlugin)
        assert [each.ref for each in live.of(PluginRejected)] == [ref("user")]

        edit(twin / "dagstack.toml", '"base"', '"twin"')
        await live.settle()
        assert live.states == {"base": "ready", "user": "ready", "twin": "ready"}
        assert (live.status("user").pending, live.status("user").error) == (False, None)


async def test_an_ambiguous_dependency_is_mended_by_naming_the_kind(tree: PluginTree) -> None:
    tree.plugin("base")
    tree.plugin("user", depends_on=["base"])
    async with serving(tree) as live:
        tree.plugin("base", kind="other", folder="twin")
        await live.settle()
        table = '{ kind = "other", name = "base" }'
        tree.plugin("user", depends_on=[table])
        await live.settle()
        assert not live.status("user").pending
        tree.plugin("base", kind="other", folder="twin", value=2)
        await live.settle()
        assert live.affected == {"base", "user"}


async def test_a_duplicate_of_a_running_plugin_is_refused_until_the_first_goes(
    tree: PluginTree,
) -> None:
    first = tree.plugin("base", folder="first")
    async with serving(tree) as live:
        kept = live.instance("base")
        tree.plugin("base", folder="second", value=2)
        await live.settle()
        assert live.instance("base") is kept
        [rejected] = live.of(PluginRejected)
        assert isinstance(rejected.error, AmbiguousPlugin)
        assert rejected.path.endswith("second")
        (first / "dagstack.toml").unlink()
        await live.settle()
        assert live.plugin("base").value() == 2
        assert live.status("base").path == str(tree.root / "second")


def values(live: Live) -> dict[str, int]:
    return {name: live.plugin(name).value() for name in live.states}


async def test_a_rejected_plugin_does_not_hold_back_the_others_of_the_batch(
    tree: PluginTree,
) -> None:
    for name in ("a", "b", "c"):
        tree.plugin(name)
    async with serving(tree) as live:
        tree.plugin("a", value=2)
        tree.write("b/plugin.py", "class Plugin(")
        tree.plugin("c", value=2)
        await live.settle()
        assert values(live) == {"a": 2, "b": 1, "c": 2}
        assert len(live.of(PluginRejected)) == 1
        assert live.outcomes == [ReloadCommitted]


async def test_what_only_waits_for_a_rejected_plugin_is_not_rejected_with_it(
    tree: PluginTree,
) -> None:
    tree.plugin("a")
    tree.plugin("b", depends_on=["a"])
    tree.plugin("c", depends_on=["b"])
    async with serving(tree) as live:
        tree.plugin("a", depends_on=["b"])
        await live.settle()
        assert live.server.statuses()[ref("a")].pending
        tree.plugin("c", depends_on=["b"], value=2)
        await live.settle()
        assert live.of(PluginRejected) == []
        assert not live.server.statuses()[ref("c")].pending
        assert live.server.registry.get_plugin("demo", "c").value() == 2


async def test_going_back_to_what_runs_ends_the_matter_without_a_reload(tree: PluginTree) -> None:
    tree.plugin("a")
    async with serving(tree) as live:
        tree.write("a/plugin.py", "class Plugin(:\n")
        await live.settle()
        assert live.server.statuses()[ref("a")].pending
        tree.plugin("a")
        await live.settle()
        status = live.server.statuses()[ref("a")]
        assert (status.pending, status.error, status.generation) == (False, None, 1)
        assert live.journal == []
        assert live.outcomes == []
        assert "what runs is on disk again" in {fact.reason for fact in live.of(ReloadSkipped)}


async def test_what_is_rejected_again_after_another_failure_is_reported_again(
    tree: PluginTree,
) -> None:
    bad = "class Plugin:\n    def setup(self\n"
    tree.plugin("base")
    async with serving(tree) as live:
        tree.write("base/plugin.py", bad)
        await live.fact(PluginRejected)
        tree.write("base/plugin.py", "class Plugin:\n    def setup(self, ctx): raise OSError\n")
        await live.fact(ReloadRolledBack)
        live.forget()
        tree.write("base/plugin.py", bad)
        await live.fact(ReloadSkipped)
        assert len(live.of(PluginRejected)) == 1


HANGS_ONCE = """
import anyio

class Plugin:
    async def setup(self, ctx):
        journal = ctx.extras["journal"]
        journal.append("aside")
        if journal.count("aside") == 2:
            await anyio.sleep_forever()
"""


async def test_what_stays_rejected_is_not_reported_again_as_what_runs_of_it_is_built_anew(
    tree: PluginTree,
) -> None:
    code = tree.plugin("base") / "plugin.py"
    tree.plugin("user", depends_on=["base"])
    aside = tree.plugin("aside", code=HANGS_ONCE) / "plugin.py"
    async with serving(tree) as live:
        tree.write("user/dagstack.toml", "")
        await live.server.wait_idle()
        edit(code, "VALUE = 1", "VALUE = 2")
        await live.server.wait_idle()
        edit(code, "VALUE = 2", "VALUE = 3")
        edit(aside, "import anyio", "import anyio  # saved")
        live.take_in()
        await live.fact(ReloadCommitted, lambda _: live.plugin("base").VALUE == 3)
        edit(code, "VALUE = 3", "VALUE = 4")  # Planned before that reload has ended.
        await live.fact(ReloadCommitted, lambda _: live.plugin("base").VALUE == 4)
        edit(aside, "await anyio.sleep_forever()", "pass")
        await live.server.wait_idle()
        assert len(live.of(PluginRejected)) == 1
