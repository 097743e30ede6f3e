"""What runs follows from what is on disk, not from the way that led there."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from serving import Live, edit, ref, serving
from trees import CODE, PluginTree

from dagstack_dev import ManifestInvalid
from dagstack_dev.core.events import (
    PluginFixed,
    PluginRejected,
    ReloadCommitted,
    ReloadFailed,
    ReloadRolledBack,
)

WANTS = """
class Plugin:
    def setup(self, ctx):
        value = ctx.registry.get_plugin("demo", {name!r}).value()
        assert value in {values!r}, f"I cannot do with {{value}}"
"""
"""A plugin that comes up beside certain values of another one only."""

BREAKS = CODE.format(name="base", value=2).replace("self.ctx = ctx", "self.ctx = ctx; 1 / 0")

FLAKY = """
class Plugin:
    def setup(self, ctx):
        ctx.extras["journal"].append("flaky")
        failing = ctx.extras["failing"]
        if failing:
            raise RuntimeError(failing.pop())
    def value(self):
        return "up"
"""
"""A plugin whose setup fails once for each text in the host's `failing`."""


def call(folder: Path, name: str) -> None:
    """Have the manifest of `folder` say that its plugin is `name`."""
    manifest = folder / "dagstack.toml"
    lines = manifest.read_text(encoding="utf-8").splitlines()
    named = [f'name = "{name}"' if each.startswith("name = ") else each for each in lines]
    manifest.write_text("\n".join(named) + "\n", encoding="utf-8")


def save(folder: Path) -> None:
    """Save the code of `folder` with another comment in it."""
    with (folder / "plugin.py").open("a", encoding="utf-8") as file:
        file.write("# saved\n")


def exchange(tree: PluginTree, *names: str) -> None:
    """Have the folders of these names call their plugins by that of the next one."""
    for folder, name in zip(names, names[1:] + names[:1], strict=True):
        call(tree.root / folder, name)


HOLDS = """
class Plugin:
    def setup(self, ctx):
        ctx.extras["journal"].append(str(ctx.registry.get_plugin("demo", "a").value()))
"""


async def test_what_came_up_beside_a_name_that_a_roll_back_has_made_ambiguous_is_pending(
    tree: PluginTree,
) -> None:
    tree.plugin("a", kind="other", folder="one")
    async with serving(tree) as live:
        call(tree.root / "one", "z")
        tree.write("one/plugin.py", BREAKS)
        tree.plugin("a", folder="two")
        tree.plugin("user", depends_on=["a"], code=HOLDS)
        await live.settle()
        assert live.states == {"a": "ready", "user": "ready"}
        reported = [fact.ref for fact in live.facts if isinstance(fact, PluginRejected)]
        assert ref("user") in reported, "its name means two plugins now"
        tree.write("one/plugin.py", CODE.format(name="one", value=3))
        tree.plugin("a", folder="two", value=2)
        await live.settle()
        assert "2" in live.journal


# Names are exchanged, and a dependent does not come up with what they mean now


@pytest.mark.parametrize("names", [("one", "two"), ("one", "two", "three")])
@pytest.mark.parametrize("saved", ["one", "two", "user", "aside"])
async def test_nothing_vanishes_when_a_folder_is_saved_after_names_were_exchanged_in_vain(
    tree: PluginTree, names: tuple[str, ...], saved: str
) -> None:
    for number, name in enumerate(names, 1):
        tree.plugin(name, value=number)
    tree.plugin("aside")
    tree.plugin("user", depends_on=["one"], code=WANTS.format(name="one", values=[1]))
    every = {"aside", "user", *names}
    async with serving(tree) as live:
        exchange(tree, *names)
        await live.settle()
        assert live.states == dict.fromkeys(every, "ready")
        assert live.plugin("one").value() == 1

        save(tree.root / saved)
        await live.settle()
        assert live.states == dict.fromkeys(every, "ready")
        assert [live.plugin(name).value() for name in names] == [*range(1, len(names) + 1)]
        assert {name for name in every if live.status(name).pending} >= {"one"}

        tree.write("user/plugin.py", WANTS.format(name="one", values=[len(names)]))
        await live.settle()
        assert live.states == dict.fromkeys(every, "ready")
        assert live.plugin("one").value() == len(names)
        assert not any(live.status(name).pending for name in every)


async def test_names_that_are_exchanged_are_in_force_beside_a_dependent_that_is_broken_itself(
    tree: PluginTree,
) -> None:
    tree.plugin("one", value=1)
    tree.plugin("two", value=2)
    tree.plugin("user", depends_on=["one"])
    async with serving(tree) as live:
        tree.write("user/plugin.py", BREAKS)
        exchange(tree, "one", "two")
        await live.settle()
        assert [live.plugin(name).value() for name in ("one", "two", "user")] == [2, 1, 1]
        assert [live.status(name).pending for name in ("one", "two", "user")] == [0, 0, 1]
        save(tree.root / "two")
        await live.settle()
        assert live.states == dict.fromkeys(("one", "two", "user"), "ready")


async def test_nothing_vanishes_when_names_are_exchanged_and_one_folder_cannot_be_read(
    tree: PluginTree,
) -> None:
    tree.plugin("one", value=1)
    tree.plugin("two", value=2)
    tree.plugin("user", depends_on=["one"], code=WANTS.format(name="one", values=[1]))
    every = ("one", "two", "user")
    async with serving(tree) as live:
        exchange(tree, "one", "two")
        await live.settle()
        edit(tree.root / "one/dagstack.toml", "[plugin]", "[plugin")
        await live.settle()
        assert live.states == dict.fromkeys(every, "ready")
        save(tree.root / "two")
        await live.settle()
        assert live.states == dict.fromkeys(every, "ready")

        edit(tree.root / "one/dagstack.toml", "[plugin", "[plugin]")
        tree.write("user/plugin.py", WANTS.format(name="one", values=[2]))
        await live.settle()
        assert [live.plugin(name).value() for name in ("one", "two")] == [2, 1]
        assert not any(live.status(name).pending for name in every)


async def test_what_moves_in_vain_to_the_folder_of_a_plugin_at_rest_runs_on(
    tree: PluginTree,
) -> None:
    one = tree.plugin("one")
    tree.plugin("two", depends_on=["missing"])
    async with serving(tree) as live:
        shutil.rmtree(one)
        tree.plugin("one", folder="two", code=BREAKS)
        await live.settle()
        assert live.states["one"] == "ready"
        assert live.status("one").pending


@pytest.mark.parametrize("names", [("one", "two"), ("one", "two", "three")])
async def test_nothing_is_lost_when_names_are_exchanged_and_a_manifest_is_half_written(
    tree: PluginTree, names: tuple[str, ...]
) -> None:
    for number, name in enumerate(names, 1):
        tree.plugin(name, value=number)
    every = dict.fromkeys(names, "ready")
    async with serving(tree) as live:
        exchange(tree, *names)
        edit(tree.root / names[-1] / "dagstack.toml", "[plugin]", "[plugin")
        await live.settle()
        assert live.states == every
        assert live.outcomes == []
        assert all(live.status(name).pending for name in names)

        edit(tree.root / names[-1] / "dagstack.toml", "[plugin", "[plugin]")
        tree.write(f"{names[-1]}/plugin.py", BREAKS)
        await live.settle()
        assert live.states == every
        assert [live.plugin(name).value() for name in names] == [*range(1, len(names) + 1)]

        tree.write(f"{names[-1]}/plugin.py", CODE.format(name="one", value=9))
        await live.settle()
        assert [live.plugin(name).value() for name in names] == [9, *range(1, len(names))]
        assert not any(live.status(name).pending for name in names)


async def test_a_plugin_is_renamed_beside_a_manifest_that_cannot_be_read(tree: PluginTree) -> None:
    tree.plugin("one", value=1)
    tree.plugin("two", value=2)
    async with serving(tree) as live:
        edit(tree.root / "two/dagstack.toml", "[plugin]", "[plugin")
        call(tree.root / "one", "other")
        await live.settle()
        assert live.states == {"other": "ready", "two": "ready"}


async def test_names_exchanged_in_vain_and_back_again_leave_nothing_pending(
    tree: PluginTree,
) -> None:
    tree.plugin("one", value=1)
    tree.plugin("two", value=2)
    tree.plugin("user", depends_on=["one"], code=WANTS.format(name="one", values=[1]))
    async with serving(tree) as live:
        exchange(tree, "one", "two")
        await live.settle()
        exchange(tree, "two", "one")
        exchange(tree, "one", "two")
        call(tree.root / "one", "one")
        call(tree.root / "two", "two")
        await live.settle()
        assert [live.plugin(name).value() for name in ("one", "two")] == [1, 2]
        assert not any(live.status(name).pending for name in ("one", "two", "user"))


# A dependent fails while it is restored


async def test_what_failed_once_in_a_roll_back_is_built_anew(tree: PluginTree) -> None:
    tree.plugin("base")
    tree.plugin("user", depends_on=["base"], code=FLAKY)
    tree.plugin("above", depends_on=["user"])
    failing: list[str] = []
    async with serving(tree, extras={"failing": failing}) as live:
        failing.append("busy")
        tree.write("base/plugin.py", BREAKS)
        await live.settle()
        assert live.outcomes == [ReloadFailed, ReloadCommitted]
        assert live.states == dict.fromkeys(("above", "base", "user"), "ready")
        assert [live.status(each).pending for each in ("above", "base", "user")] == [0, 1, 0]


@pytest.mark.parametrize("raised", ["LookupError", "LookupError('busy')"])
async def test_what_fails_in_a_roll_back_says_what_is_wrong_with_what_is_on_disk(
    tree: PluginTree, raised: str
) -> None:
    tree.plugin("flaky", code=FLAKY)
    failing: list[str] = []
    async with serving(tree, extras={"failing": failing}) as live:
        failing.append("busy")
        tree.write("flaky/plugin.py", BREAKS.replace("1 / 0", f"raise {raised}"))
        await live.settle()
        assert not failing
        assert live.states == {"flaky": "failed"}
        assert type(live.status("flaky").error) is LookupError


async def test_what_fails_in_a_roll_back_says_what_is_wrong_with_its_section(
    tree: PluginTree, tmp_path: Path
) -> None:
    config = tmp_path / "config.toml"
    config.write_text("")
    code = FLAKY.replace("failing =", "ctx.config and ctx.config['host']; failing =")
    tree.plugin("flaky", code=code)
    failing: list[str] = []
    async with serving(tree, config_file=config, extras={"failing": failing}) as live:
        failing.append("busy")
        config.write_text("[demo.flaky]\nport = 1\n")
        await live.settle()
        assert not failing
        assert live.states == {"flaky": "failed"}
        assert type(live.status("flaky").error) is KeyError


@pytest.mark.parametrize("at", ["__init__(self)", "setup(self, ctx)"])
async def test_what_imports_code_of_what_failed_in_a_roll_back_gets_the_code_on_disk(
    tree: PluginTree, at: str
) -> None:
    tree.plugin("base", code="VALUE = 1\n" + FLAKY)
    tree.plugin(
        "user",
        code="""
        from ..base.plugin import VALUE
        class Plugin:
            def value(self):
                return VALUE
        """,
    )
    failing: list[str] = []
    async with serving(tree, extras={"failing": failing}) as live:
        failing.append("busy")
        code = f"VALUE = 2\nclass Plugin:\n    def {at}:\n        1 / 0\n"
        tree.write("base/plugin.py", code)
        await live.settle()
        assert not failing
        assert live.states == {"base": "failed", "user": "ready"}
        assert live.plugin("user").value() == 2
        assert not live.status("user").pending


async def test_what_could_not_come_back_for_its_dependency_is_built_anew_too(
    tree: PluginTree,
) -> None:
    tree.plugin("base", code=FLAKY)
    tree.plugin("above", depends_on=["base"], code="VALUE = 1\nclass Plugin: pass\n")
    tree.plugin(
        "user",
        code="""
        from ..above.plugin import VALUE
        class Plugin:
            def value(self):
                return VALUE
        """,
    )
    failing: list[str] = []
    async with serving(tree, extras={"failing": failing}) as live:
        failing.append("busy")
        tree.plugin("base", value=2)
        tree.write("above/plugin.py", "VALUE = 2\n" + BREAKS)
        await live.settle()
        assert not failing
        assert live.states == {"base": "ready", "above": "failed", "user": "ready"}
        assert live.plugin("user").value() == 2
        assert not live.status("user").pending


AFTERWARDS: dict[str, Callable[[PluginTree], object]] = {
    "the edit is undone": lambda tree: tree.plugin("base"),
    "another edit of the base": lambda tree: tree.plugin("base", value=3),
    "its code is saved": lambda tree: save(tree.root / "user"),
    "its manifest is saved": lambda tree: call(tree.root / "user", "user"),
    "a plugin beside it is saved": lambda tree: save(tree.root / "aside"),
    "a plugin comes": lambda tree: tree.plugin("newcomer"),
    "the plugin above it is saved": lambda tree: save(tree.root / "above"),
}


@pytest.mark.parametrize("happens", AFTERWARDS.values(), ids=AFTERWARDS.keys())
async def test_what_failed_in_a_roll_back_and_anew_comes_back_with_any_news(
    tree: PluginTree, happens: Callable[[PluginTree], object]
) -> None:
    tree.plugin("base")
    tree.plugin("user", depends_on=["base"], code=FLAKY)
    tree.plugin("above", depends_on=["user"])
    tree.plugin("aside")
    failing: list[str] = []
    async with serving(tree, extras={"failing": failing}) as live:
        failing += ["still busy", "busy"]
        tree.write("base/plugin.py", BREAKS)
        await live.settle()
        assert not failing
        assert live.states == {
            "base": "ready",
            "user": "failed",
            "above": "blocked",
            "aside": "ready",
        }
        assert str(live.status("user").error) == "still busy"
        live.forget()
        happens(tree)
        await live.fact(ReloadCommitted)
        await live.server.wait_idle()
        assert {*live.states.values()} == {"ready"}
        assert live.plugin("user").value() == "up"
        assert not live.status("user").pending


async def test_what_failed_in_a_roll_back_comes_up_though_another_one_has_withdrawn_it(
    tree: PluginTree,
) -> None:
    tree.plugin("first")
    tree.plugin("base", depends_on=["first"])
    tree.plugin("user", depends_on=["base"], code=FLAKY)
    failing: list[str] = []
    async with serving(tree, extras={"failing": failing}) as live:
        failing.append("busy")
        tree.write("first/plugin.py", BREAKS)
        tree.write("base/plugin.py", BREAKS)
        await live.settle()
        assert live.outcomes == [ReloadFailed, ReloadRolledBack, ReloadCommitted]
        assert live.states == dict.fromkeys(("first", "base", "user"), "ready")


async def test_what_failed_in_a_roll_back_and_anew_comes_back_when_it_is_asked_for(
    tree: PluginTree,
) -> None:
    tree.plugin("base")
    tree.plugin("user", depends_on=["base"], code=FLAKY)
    failing: list[str] = []
    async with serving(tree, extras={"failing": failing}) as live:
        failing += ["still busy", "busy"]
        tree.write("base/plugin.py", BREAKS)
        await live.settle()
        assert live.states == {"base": "ready", "user": "failed"}
        await live.server.reload(ref("user"))
        assert live.states == {"base": "ready", "user": "ready"}
        assert live.status("base").pending


async def test_what_failed_in_a_roll_back_and_fails_again_stays_down_until_there_is_news(
    tree: PluginTree,
) -> None:
    tree.plugin("base")
    tree.plugin("user", depends_on=["base"], code=FLAKY)
    failing: list[str] = []
    async with serving(tree, extras={"failing": failing}) as live:
        failing += ["as ever", "still busy", "busy"]
        tree.write("base/plugin.py", BREAKS)
        await live.settle()
        assert live.states == {"base": "ready", "user": "failed"}
        assert failing == ["as ever"]
        tree.plugin("base")
        await live.settle()
        assert live.states == {"base": "ready", "user": "failed"}
        assert not failing
        await live.settle()
        assert live.journal == []
        save(tree.root / "user")
        await live.settle()
        assert live.states == {"base": "ready", "user": "ready"}


# What cannot be built is pending until that is mended, whatever happens beside it

BROKEN_FILES = {
    "a manifest that is no TOML": ("dagstack.toml", "[plugin", ManifestInvalid),
    "a manifest without a name": ("dagstack.toml", '[plugin]\nkind = "demo"\n', ManifestInvalid),
    "an empty manifest": ("dagstack.toml", "", ManifestInvalid),
    "a manifest with a field of another type": (
        "dagstack.toml",
        '[plugin]\nname = "user"\nkind = "demo"\ndepends_on = 1\n',
        ManifestInvalid,
    ),
    "code that does not compile": ("plugin.py", "class Plugin(:\n", Exception),
}

NEIGHBOURS = {
    "what it depends on": "base",
    "what depends on it": "above",
    "a stranger": "aside",
}


def family(tree: PluginTree) -> None:
    tree.plugin("base")
    tree.plugin("user", depends_on=["base"])
    tree.plugin("above", depends_on=["user"])
    tree.plugin("aside")


def rejections(live: Live) -> list[str]:
    return [str(fact.error) for fact in live.of(PluginRejected)]


@pytest.mark.parametrize("broken", BROKEN_FILES.values(), ids=BROKEN_FILES.keys())
@pytest.mark.parametrize("neighbour", NEIGHBOURS.values(), ids=NEIGHBOURS.keys())
async def test_what_cannot_be_read_stays_pending_when_a_neighbour_is_saved_and_is_reported_once(
    tree: PluginTree, broken: tuple[str, str, type[Exception]], neighbour: str
) -> None:
    family(tree)
    file, text, kind = broken
    path = tree.root / "user" / file
    whole = path.read_text(encoding="utf-8")
    async with serving(tree) as live:
        path.write_text(text, encoding="utf-8")
        await live.settle()
        [reported] = rejections(live)
        for value in (2, 3):
            tree.plugin(neighbour, value=value, depends_on=["user"] if neighbour == "above" else [])
            await live.settle()
            assert live.plugin(neighbour).value() == value
            status = live.status("user")
            assert status.pending
            assert isinstance(status.error, kind)
            assert str(status.error) == reported
            assert rejections(live) == []
            assert live.of(PluginFixed) == []
        path.write_text(whole, encoding="utf-8")
        await live.settle()
        assert not live.status("user").pending
        assert [fact.ref for fact in live.of(PluginFixed)] == [ref("user")]


async def test_what_never_could_be_read_stays_failed_when_a_neighbour_is_saved(
    tree: PluginTree,
) -> None:
    family(tree)
    tree.write("user/dagstack.toml", '[plugin]\nname = "user"\nkind = "demo"\ndepends_on = 1\n')
    async with serving(tree) as live:
        states = {"base": "ready", "user": "failed", "above": "blocked", "aside": "ready"}
        assert live.states == states
        error = str(live.status("user").error)
        for neighbour in NEIGHBOURS.values():
            save(tree.root / neighbour)
            await live.settle()
            assert live.states == states
            assert str(live.status("user").error) == error
            assert rejections(live) == []


async def test_a_name_claimed_twice_stays_pending_when_a_neighbour_is_saved(
    tree: PluginTree,
) -> None:
    family(tree)
    async with serving(tree) as live:
        tree.plugin("user", folder="copy", value=2)
        await live.settle()
        reported = rejections(live)
        assert len(reported) == 1
        for neighbour in NEIGHBOURS.values():
            save(tree.root / neighbour)
            await live.settle()
            assert rejections(live) == []
            assert live.of(PluginFixed) == []
            assert live.plugin("user").value() == 1


async def test_two_manifests_that_cannot_be_read_are_reported_once_each(tree: PluginTree) -> None:
    family(tree)
    async with serving(tree) as live:
        for name in ("user", "above"):
            edit(tree.root / name / "dagstack.toml", "[plugin]", "[plugin")
        await live.settle()
        assert len(rejections(live)) == 2
        for neighbour in ("base", "aside"):
            save(tree.root / neighbour)
            await live.settle()
            assert rejections(live) == []
            assert [live.status(name).pending for name in ("user", "above")] == [True, True]
        edit(tree.root / "user/dagstack.toml", "[plugin", "[plugin]")
        await live.settle()
        assert [live.status(name).pending for name in ("user", "above")] == [False, True]
