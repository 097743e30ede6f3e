"""Laws of a reload on real files: what is done follows from the disk, what runs and what failed."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from serving import Live, edit, ref, serving
from trees import PluginTree

from dagstack_dev.app.reload.inbox import Inbox
from dagstack_dev.app.reload.revisions import Revisions
from dagstack_dev.app.reload.state import ReloadState
from dagstack_dev.core.events import ReloadSkipped, Transition
from dagstack_dev.core.lifecycle import State
from dagstack_dev.core.target import Target

pytestmark = pytest.mark.usefixtures("imports_forgotten")

READS = """
import words
class Plugin:
    def setup(self, ctx):
        assert words.WORD != {refused!r}
    def value(self):
        return words.WORD
"""
NOTES_WORD = """
import words
class Plugin:
    def setup(self, ctx):
        ctx.extras["journal"].append(words.WORD)
        assert words.WORD != "third"
"""
CONFIGURED = """
class Plugin:
    def setup(self, ctx):
        self.port = ctx.config.get("port")
        if self.port == 13:
            raise RuntimeError("not that port")
"""
PORT = '\n[plugin.config_schema]\nproperties = { port = { type = "integer" } }\n'
CONFIG = "[demo.configured]\nport = 1\n"
KINDS = "kind: {kind}\nkind_api_version: {version}\nhooks: [{{name: value, dispatch: singleton}}]\n"
FAILS = """
class Plugin:
    def setup(self, ctx):
        ctx.extras["journal"].append("tried")
        raise RuntimeError("no")
"""
PICKY = """
class Plugin:
    def setup(self, ctx):
        ctx.extras["journal"].append("tried")
        assert ctx.registry.get_plugin("demo", "base").value() == 1
"""
FLAKY = """
class Plugin:
    def setup(self, ctx):
        if ctx.extras["failing"]:
            raise RuntimeError(ctx.extras["failing"].pop())
"""
DOWN = "class Plugin:\n    def setup(self, ctx):\n        raise ConnectionError\n"
DIES = """
import anyio
class Plugin:
    async def setup(self, ctx):
        self.end = anyio.Event()
        ctx.start_soon(self.wait)
    async def wait(self):
        await self.end.wait()
        raise ConnectionResetError("hung up")
    def die(self):
        self.end.set()
"""


def _kind(kind: str, version: str = "1") -> str:
    return KINDS.format(kind=kind, version=version)


class World:
    """A tree of plugins of all sorts, and the server over it.

    Attributes:
        tree: the tree.
        config: the configuration file.
        kinds: the files that declare the kind `demo`, and the kind `other`.
        words: a module that two plugins share.
        failing: a text for each time that the plugin `flaky` is to fail.
        live: the server.
    """

    live: Live

    def __init__(self, tree: PluginTree, folder: Path) -> None:
        self.tree = tree
        self.config = tree.write(folder / "config.toml", CONFIG)
        self.kinds = [
            tree.write(folder / f"{kind}.yaml", _kind(kind)) for kind in ("demo", "other")
        ]
        self.words = tree.write("words.py", "WORD = 'first'\n")
        self.failing: list[str] = []
        tree.plugin("base")
        tree.plugin("user", depends_on=["base"])
        tree.plugin("above", depends_on=["user"])
        tree.plugin("picky", depends_on=["base"], code=PICKY)
        tree.plugin("flaky", depends_on=["base"], code=FLAKY)
        tree.plugin("reader", code=READS.format(refused="third"))
        tree.plugin("second_reader", code=READS.format(refused=""))
        tree.plugin("configured", code=CONFIGURED, manifest=PORT)
        tree.plugin("dies", code=DIES)
        tree.plugin("aside")
        tree.plugin("rest", kind="other", manifest="fallback = true\n")

    def serving(self) -> Any:
        extras = {"failing": self.failing}
        return serving(
            self.tree,
            extras=extras,
            config_file=self.config,
            hookspec_files=self.kinds,
            retry_seconds=0,
        )

    @property
    def verdicts(self) -> dict[str, tuple[str, bool, str, tuple[str, ...]]]:
        """What is said of each plugin."""
        return {
            each.name: (str(status.state), status.pending, str(status.error), status.blocked_by)
            for each, status in self.live.server.statuses().items()
        }

    @property
    def generations(self) -> dict[str, int]:
        return {each.name: now.generation for each, now in self.live.server.statuses().items()}

    @property
    def differing(self) -> set[str]:
        """All places where something differs from what runs, or from what was tried last."""
        state = self.live.server._loop._state
        places = {str(path) for path in self.tree.root.iterdir()}
        entries = self.live.server.registry.table.present()
        places |= state.revisions.places(entry.ref for entry in entries)
        return {place for place in places if not state.is_stable(place)}


@pytest.fixture
def world(tree: PluginTree, tmp_path: Path) -> World:
    return World(tree, tmp_path)


def code(name: str, text: str) -> Callable[[World], object]:
    return lambda world: world.tree.write(f"{name}/plugin.py", text)


def manifest(name: str, old: str, new: str) -> Callable[[World], object]:
    return lambda world: edit(world.tree.root / name / "dagstack.toml", old, new)


def several(*edits: Callable[[World], object]) -> Callable[[World], object]:
    return lambda world: [each(world) for each in edits]


def two_fallbacks(world: World) -> None:
    shutil.rmtree(world.tree.root / "rest")
    for name in ("one", "two"):
        world.tree.plugin(name, kind="other", manifest="fallback = true\n")


def move(world: World) -> None:
    (world.tree.root / "base").rename(world.tree.root / "moved")
    code("moved", FAILS)(world)


def flaked(world: World) -> None:
    world.failing.append("busy")
    code("base", FAILS)(world)


def died(world: World) -> None:
    world.live.plugin("dies").die()


SCENARIOS: dict[str, Callable[[World], object]] = {
    "nothing": lambda _: None,
    "code that does not compile": code("user", "class Plugin(:\n"),
    "a manifest that cannot be read": manifest("user", "[plugin]", "[plugin"),
    "a dependency that is nowhere": manifest("user", '["base"]', '["nowhere"]'),
    "a setup that fails": code("base", FAILS),
    "a setup that fails, and one beside it": several(code("base", FAILS), code("user", FAILS)),
    "a dependent that does not take it": lambda world: world.tree.plugin("base", value=2),
    "a roll-back that fails once": flaked,
    "a newcomer that fails": lambda world: world.tree.plugin("newcomer", code=FAILS),
    "a newcomer that is blocked": lambda world: (
        world.tree.plugin("newcomer", code=FAILS),
        world.tree.plugin("waits", depends_on=["newcomer"]),
    ),
    "a name claimed twice": lambda world: world.tree.plugin("user", folder="copy", value=2),
    "a name claimed twice that no plugin runs": lambda world: (
        world.tree.plugin("newcomer", folder="one"),
        world.tree.plugin("newcomer", folder="two"),
    ),
    "a second fallback": lambda world: world.tree.plugin(
        "one", kind="other", manifest="fallback = true\n"
    ),
    "two fallbacks in place of one": two_fallbacks,
    "a fallback that is broken, and another one": several(
        manifest("rest", "[plugin]", "[plugin"),
        lambda world: world.tree.plugin("one", kind="other", manifest="fallback = true\n"),
    ),
    "a kind that is not declared": manifest("rest", '"other"', '"ohter"'),
    "a kind that is declared no longer": lambda world: world.kinds[1].write_text(_kind("ohter")),
    "a kind of another version": lambda world: world.kinds[0].write_text(_kind("demo", "2")),
    "kinds that cannot be read": lambda world: world.kinds[0].write_text("kind: [demo"),
    "a cycle": manifest("base", "depends_on = []", 'depends_on = ["above"]'),
    "a dependency that is gone": lambda world: shutil.rmtree(world.tree.root / "base"),
    "a rename in vain": several(manifest("base", '"base"', '"other"'), code("base", FAILS)),
    "names exchanged in vain": several(
        manifest("base", '"base"', '"aside"'),
        manifest("aside", '"aside"', '"base"'),
        lambda world: edit(world.tree.root / "aside/plugin.py", "VALUE = 1", "VALUE = 2"),
    ),
    "a move in vain": move,
    "shared code that does not compile": lambda world: world.words.write_text("WORD = \n"),
    "shared code that fails": lambda world: world.words.write_text("1 / 0\n"),
    "shared code that one refuses": lambda world: world.words.write_text("WORD = 'third'\n"),
    "shared code that is gone": lambda world: world.words.unlink(),
    "shared code that one refuses, and its edit": several(
        lambda world: world.words.write_text("WORD = 'third'\n"),
        code("second_reader", FAILS),
    ),
    "a configuration that cannot be read": lambda world: world.config.write_text("[demo"),
    "a section that is refused": lambda world: edit(world.config, "1", "'x'"),
    "a section that fails": lambda world: edit(world.config, "1", "13"),
    "a plugin that died": died,
}

scenarios = pytest.mark.parametrize("scenario", SCENARIOS.values(), ids=SCENARIOS.keys())


def saved(folder: Path) -> None:
    with (folder / "plugin.py").open("a", encoding="utf-8") as file:
        file.write("# saved\n")


async def played(world: World, scenario: Callable[[World], object]) -> None:
    """Have it happen, and all be done that follows."""
    scenario(world)
    if scenario is died:
        await world.live.fact(Transition, lambda fact: fact.to_state is State.FAILED)
    await world.live.settle()


# 1. The next plan follows from what is on disk, what runs and what failed


@scenarios
async def test_a_second_look_everywhere_does_nothing(
    world: World, scenario: Callable[[World], object]
) -> None:
    async with world.serving() as world.live:
        await played(world, scenario)
        before = world.verdicts, world.generations
        for _ in range(2):
            await world.live.settle()
            others = [each for each in world.live.facts if not isinstance(each, ReloadSkipped)]
            assert others == []
            assert world.live.journal == []
            assert (world.verdicts, world.generations) == before


@scenarios
async def test_a_comparison_of_all_places_finds_just_what_is_kept_as_differing(
    world: World, scenario: Callable[[World], object]
) -> None:
    async with world.serving() as world.live:
        await played(world, scenario)
        assert world.differing == world.live.server._loop._state.unstable.keys()


@scenarios
async def test_news_beside_it_change_nothing_of_it(
    world: World, scenario: Callable[[World], object]
) -> None:
    world.tree.plugin("stranger")
    async with world.serving() as world.live:
        await played(world, scenario)
        before = world.verdicts
        if scenario is flaked:  # It comes back.
            before["flaky"] = ("ready", False, "None", ())
        if scenario is died:
            before["dies"] = ("ready", False, "None", ())
        saved(world.tree.root / "stranger")
        await world.live.settle()
        assert world.verdicts == before


@scenarios
async def test_when_it_is_undone_all_is_as_it_was(
    world: World, scenario: Callable[[World], object], tmp_path: Path
) -> None:
    kept = {path: path.read_bytes() for path in tmp_path.rglob("*.*") if path.is_file()}
    async with world.serving() as world.live:
        before = world.verdicts
        await played(world, scenario)
        for path in world.tree.root.iterdir():
            if path.is_dir() and not any(each.is_relative_to(path) for each in kept):
                shutil.rmtree(path)
        for path, content in kept.items():
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(content)
        if scenario is died:
            saved(world.tree.root / "dies")
        await world.live.settle()
        assert world.verdicts == before


# 2. What failed is not tried again without news

FAILURES: dict[str, Callable[[World], object]] = {
    "pending": code("user", FAILS),
    "failed": lambda world: world.tree.plugin("newcomer", code=FAILS),
    "failed, and what waits for it": lambda world: (
        world.tree.plugin("newcomer", code=FAILS),
        world.tree.plugin("waits", depends_on=["newcomer"]),
    ),
    "refused by a dependent": lambda world: world.tree.plugin("base", value=2),
    "both": several(code("user", FAILS), lambda world: world.tree.plugin("newcomer", code=FAILS)),
}
NO_NEWS: dict[str, Callable[[World], object]] = {
    "nothing": lambda _: None,
    "the same content": lambda world: world.tree.write(
        "stranger/plugin.py", (world.tree.root / "stranger/plugin.py").read_text(encoding="utf-8")
    ),
    "a file that does not count": lambda world: world.tree.write("stranger/.notes.txt.swp", "x"),
    "a comment in the configuration": lambda world: world.config.write_text("# x\n" + CONFIG),
    "a file that is no plugin's": lambda world: world.tree.write("README.md", "x"),
}
NEWS: dict[str, Callable[[World], object]] = {
    "a stranger": lambda world: saved(world.tree.root / "stranger"),
    "a newcomer": lambda world: world.tree.plugin("one_more"),
    "a removal": lambda world: shutil.rmtree(world.tree.root / "stranger"),
    "a section": lambda world: edit(world.config, "1", "2"),
    "shared code": lambda world: world.words.write_text("WORD = 'second'\n"),
}

failures = pytest.mark.parametrize("failure", FAILURES.values(), ids=FAILURES.keys())


@failures
async def test_what_failed_is_not_tried_again_without_news(
    world: World, failure: Callable[[World], object]
) -> None:
    world.tree.plugin("stranger")
    async with world.serving() as world.live:
        await played(world, failure)
        before = world.verdicts
        for nothing in NO_NEWS.values():
            nothing(world)
            await world.live.settle()
            assert world.live.journal == []
            assert world.verdicts == before


@failures
@pytest.mark.parametrize("news", NEWS.values(), ids=NEWS.keys())
async def test_what_failed_is_tried_again_with_any_news(
    world: World, failure: Callable[[World], object], news: Callable[[World], object]
) -> None:
    world.tree.plugin("stranger")
    async with world.serving() as world.live:
        await played(world, failure)
        before = world.verdicts
        news(world)
        await world.live.settle()
        assert "tried" in world.live.journal
        names = before.keys() & world.verdicts.keys()
        assert {name: world.verdicts[name] for name in names} == {
            name: before[name] for name in names
        }
        await world.live.settle()
        assert world.live.journal == []


async def test_a_failure_is_one_of_all_that_it_was_built_from(world: World) -> None:
    async with world.serving() as world.live:
        code("user", FAILS)(world)
        world.tree.plugin("base", value=2)
        code("picky", PICKY.replace("== 1", "in {1, 2}"))(world)
        await world.live.settle()
        assert world.live.plugin("base").value() == 2
        assert world.live.status("user").pending
        world.tree.plugin("user", depends_on=["base"])
        await world.live.settle()
        assert not world.live.status("user").pending


async def test_what_fails_with_shared_code_is_not_tried_again_when_it_runs_beside_the_old(
    world: World,
) -> None:
    async with world.serving() as world.live:
        code("reader", NOTES_WORD)(world)
        world.words.write_text("WORD = 'third'\n")
        await world.live.settle()
        assert world.live.status("reader").pending
        assert world.live.journal.count("third") == 1


async def test_what_comes_under_the_name_of_what_was_removed_is_another_plugin(
    world: World,
) -> None:
    async with world.serving() as world.live:
        state = world.live.server._loop._state
        base = world.tree.root / "base"

        def inputs() -> object:
            claim = state.revisions.claim(str(base))
            assert claim is not None
            return state.version(ref("base"), claim)

        before = inputs()
        await world.live.server.reload(ref("base"))
        code("base", FAILS)(world)
        await world.live.settle()
        assert ref("base") in state.failures
        shutil.rmtree(base)
        await world.live.settle()
        assert ref("base") not in state.failures
        world.tree.plugin("base")
        await world.live.settle()
        assert inputs() == before


# 3. What is gone from disk goes, whatever fails beside it

BESIDE: dict[str, Callable[[World], object]] = {
    "nothing": lambda _: None,
    "a dependent fails": code("user", FAILS),
    "a dependent does not compile": code("user", "class Plugin(:\n"),
    "a dependent's manifest cannot be read": manifest("user", "[plugin]", "[plugin"),
    "a dependent depends on what is nowhere": manifest("user", '["base"]', '["base", "nowhere"]'),
    "a dependent closes a cycle": manifest("user", '["base"]', '["base", "above"]'),
    "one beside it fails": code("aside", FAILS),
    "a newcomer fails": lambda world: world.tree.plugin(
        "newcomer", code=FAILS, depends_on=["base"]
    ),
    "shared code fails": lambda world: world.words.write_text("1 / 0\n"),
    "a section is refused": lambda world: edit(world.config, "1", "'x'"),
}
REMOVALS: dict[str, Callable[[World], object]] = {
    "deleted": lambda world: shutil.rmtree(world.tree.root / "base"),
    "its manifest is deleted": lambda world: (world.tree.root / "base/dagstack.toml").unlink(),
    "renamed": manifest("base", '"base"', '"other"'),
}

removals = pytest.mark.parametrize("removal", REMOVALS.values(), ids=REMOVALS.keys())


@removals
@pytest.mark.parametrize("beside", BESIDE.values(), ids=BESIDE.keys())
async def test_what_is_gone_goes_whatever_fails_beside_it(
    world: World, beside: Callable[[World], object], removal: Callable[[World], object]
) -> None:
    async with world.serving() as world.live:
        beside(world)
        removal(world)
        await world.live.settle()
        states = world.live.states
        assert "base" not in states
        assert [states[each] for each in ("picky", "flaky")] == ["blocked", "blocked"]
        # One that is down and says no name is not there.
        assert {states.get(each, "failed") for each in ("user", "above")} <= {"blocked", "failed"}
        assert {states[each] for each in ("reader", "second_reader", "configured", "aside")} == {
            "ready"
        }


@removals
async def test_what_is_gone_goes_though_others_import_its_code(
    world: World, removal: Callable[[World], object]
) -> None:
    borrows = "from ..base.plugin import Plugin as Base\nclass Plugin(Base): pass\n"
    world.tree.plugin("borrower", code=borrows, depends_on=["aside"])
    async with world.serving() as world.live:
        code("aside", FAILS)(world)
        removal(world)
        await world.live.settle()
        assert "base" not in world.live.states
        assert world.live.state("borrower") is State.FAILED
        assert world.live.state("aside") is State.READY
        assert world.live.status("aside").pending


async def test_what_is_pending_goes_when_it_is_deleted(world: World) -> None:
    async with world.serving() as world.live:
        code("base", FAILS)(world)
        await world.live.settle()
        assert world.live.status("base").pending
        shutil.rmtree(world.tree.root / "base")
        await world.live.settle()
        assert "base" not in world.live.states
        assert world.live.state("user") is State.BLOCKED


# 5. A save costs what it touches, in a tree of any size

COUNTED: dict[str, tuple[type, str]] = {
    "prepared": (Revisions, "_prepare"),
    "claims": (Revisions, "claim"),
    "compared": (ReloadState, "difference"),
    "versions": (ReloadState, "version"),
    "versions of what runs": (ReloadState, "_version_of"),
    "looked at": (ReloadState, "is_stable"),
    "judged": (Target, "_judge_one"),
}

SAVES: dict[str, Callable[[PluginTree], object]] = {
    "a leaf": lambda tree: tree.plugin("leaf", depends_on=["hub"], value=2),
    "a leaf that does not compile": lambda tree: tree.write("leaf/plugin.py", "class Plugin(:\n"),
    "a leaf that fails": lambda tree: tree.write("leaf/plugin.py", FAILS),
    "a leaf with a manifest that cannot be read": lambda tree: tree.write(
        "leaf/dagstack.toml", "[plugin"
    ),
    "what two depend on": lambda tree: tree.plugin("knot", depends_on=["hub"], value=2),
    "a newcomer": lambda tree: tree.plugin("newcomer", depends_on=["hub"]),
    "a leaf that goes": lambda tree: shutil.rmtree(tree.root / "leaf"),
    "a leaf with another name": lambda tree: edit(
        tree.root / "leaf/dagstack.toml", '"leaf"', '"other"'
    ),
    "a leaf that is claimed twice": lambda tree: tree.plugin("leaf", folder="copy"),
}


async def counts(
    root: Path,
    size: int,
    save: Callable[[PluginTree], object],
    patch: pytest.MonkeyPatch,
    code: str | None = None,
) -> Counter[str]:
    """How often what is counted is done for a save in a tree of `size` plugins.

    Args:
        root: where the tree is to be.
        size: how many plugins there are.
        save: what is done.
        patch: counts.
        code: that of the plugins that the save does not touch.
    """
    tree = PluginTree(root)
    tree.plugin("hub")
    tree.plugin("leaf", depends_on=["hub"])
    tree.plugin("knot", depends_on=["hub"])
    for name in ("first", "second"):
        tree.plugin(name, depends_on=["knot"])
    for number in range(size - 5):
        tree.plugin(f"plugin_{number}", depends_on=["hub"], code=code)
    found: Counter[str] = Counter()
    with patch.context() as patched:
        # All is found by looking: an event that is late would be another batch.
        patched.setattr(Inbox, "put_paths", lambda *_: None)
        async with serving(tree, retry_seconds=1000) as live:
            for what, (owner, name) in COUNTED.items():
                patched.setattr(owner, name, _counting(getattr(owner, name), found, what))
            save(tree)
            await live.settle()
    return found


def _counting(func: Callable[..., Any], found: Counter[str], what: str) -> Callable[..., Any]:
    def counted(*args: Any, **kwargs: Any) -> Any:
        found[what] += 1
        return func(*args, **kwargs)

    return counted


@pytest.mark.parametrize("save", SAVES.values(), ids=SAVES.keys())
async def test_a_save_costs_the_same_in_a_large_tree(
    tmp_path: Path, save: Callable[[PluginTree], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    small = await counts(tmp_path / "small", 10, save, monkeypatch)
    assert small["prepared"] <= 2
    large = await counts(tmp_path / "large", 300, save, monkeypatch)
    assert large == small


@pytest.mark.parametrize("save", [SAVES["a leaf"], SAVES["a newcomer"]], ids=["leaf", "newcomer"])
async def test_a_save_costs_the_same_where_many_wait_for_a_retry(
    tmp_path: Path, save: Callable[[PluginTree], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    small = await counts(tmp_path / "small", 10, save, monkeypatch, DOWN)
    assert await counts(tmp_path / "large", 200, save, monkeypatch, DOWN) == small
