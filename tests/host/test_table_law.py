"""What runs of a plugin changes in the table only, and all of it together."""

from __future__ import annotations

import ast
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from agreement import disagreements
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from serving import edit, make_live
from trees import PluginTree

import dagstack_dev
from dagstack_dev import PluginManifest, PluginRegistry
from dagstack_dev.core.events import Fact, Transition
from dagstack_dev.core.lifecycle import Stage, State
from dagstack_dev.host.plugins.entry import Entry, Revision, Saved
from dagstack_dev.host.plugins.table import PluginTable

PACKAGE = Path(dagstack_dev.__file__).parent
TABLE = PACKAGE / "host" / "plugins" / "table.py"
GATE = PACKAGE / "host" / "calls" / "gate.py"

OF_AN_ENTRY = {*Entry.__slots__}
OF_OTHERS_TOO = {"context", "revision"}
OF_A_GATE = {"closed", "drain", "instance", "threads", "unavailable"}
OF_THE_TABLE = {"entries", "states", "setup_order", "priorities"}
OF_A_DICT = {"clear", "pop", "popitem", "setdefault", "update"}


# Who writes


def breaches(code: str) -> list[str]:
    """The expressions in `code` that change what runs of a plugin."""
    return [ast.unparse(each) for each in ast.walk(ast.parse(code)) if is_breach(each)]


def is_breach(node: ast.AST) -> bool:
    match node:
        case ast.Attribute(value=ast.Name(id="self")):
            return False  # Other classes have attributes of these names.
        case ast.Attribute(attr=name, ctx=ast.Store() | ast.Del()) if name in OF_OTHERS_TOO:
            return "entr" in ast.unparse(node)
        case ast.Attribute(attr=name, ctx=ast.Store() | ast.Del()):
            return name in OF_AN_ENTRY | OF_A_GATE
        case ast.Subscript(
            value=ast.Attribute(value=owner, attr=name), ctx=ast.Store() | ast.Del()
        ):
            return name in OF_THE_TABLE and "table" in ast.unparse(owner)
        case ast.Call(func=ast.Attribute(value=ast.Attribute(value=owner, attr=name), attr=method)):
            if method in OF_A_DICT:
                return name in OF_THE_TABLE and "table" in ast.unparse(owner)
            return "gate" in name and method in {"open", "close", "refuse"}
        case ast.Call(func=ast.Attribute(value=ast.Name(id=name), attr=method)):
            return "gate" in name and method in {"open", "close", "refuse"}
        case ast.Call(func=ast.Name(id="setattr"), args=[_, ast.Constant(value=str(name)), *_]):
            return name in OF_AN_ENTRY | OF_A_GATE
        case _:
            return False


@pytest.mark.parametrize(
    "code",
    [
        "entry.generation = None",
        "self._entry.carry = {}",
        "entry.pending_error, entry.failure = error, None",
        "table.entries[ref].running = None",
        "del entry.context",
        "gate.instance = None",
        "entry.gate.closed = True",
        "entry.gate.open()",
        "self._gate.close(drain)",
        "gate.refuse('it is gone')",
        "table.states[ref] = State.READY",
        "self._table.setup_order.pop(ref)",
        "setattr(entry, 'stage', None)",
    ],
)
def test_a_breach_is_found(code: str) -> None:
    assert breaches(code)


def test_only_the_table_changes_what_runs() -> None:
    modules = {*PACKAGE.rglob("*.py")} - {TABLE, GATE}
    found = {
        str(module.relative_to(PACKAGE)): breach
        for module in modules
        if (breach := breaches(module.read_text(encoding="utf-8")))
    }
    assert found == {}


# What agrees


class Agreement:
    """An observer that looks at everything, each time that it is called."""

    def __init__(self, table: PluginTable) -> None:
        self.table = table
        self.found: list[str] = []
        self.refused: dict[State, list[bool]] = {}
        table.observe(self.see)

    def see(self, fact: Fact) -> None:
        for entry in self.table.entries.values():
            self.found += disagreements(self.table, entry)
        if isinstance(fact, Transition):
            gate = self.table.entries[fact.ref].gate
            self.refused.setdefault(fact.to_state, []).append(gate.refusal is not None)


MANIFEST = PluginManifest.model_validate(
    {
        "name": "it",
        "kind": "demo",
        "core_version": ">=0.1",
        "runtime": "in_process",
        "entry_point": "plugin:Plugin",
    }
)
SOURCE: Any = SimpleNamespace(folder="/plugins/it")
REVISION = Revision(MANIFEST, source=SOURCE)
ERROR = RuntimeError("no")

STARTABLE = {State.DISCOVERED, State.LOADED, State.STOPPED, State.FAILED, State.BLOCKED}
DOWN = {*STARTABLE} - {State.LOADED}


Rule = Callable[["Lives"], None]


def states(*allowed: State) -> Callable[[Rule], Rule]:
    """A rule for a plugin in one of these states."""
    return precondition(lambda self: self.table.states[self.entry.ref] in allowed)


class Lives(RuleBasedStateMachine):
    """Whatever happens to a plugin, in any order that the transitions allow."""

    def __init__(self) -> None:
        super().__init__()
        self.table = PluginTable({})
        self.agreement = Agreement(self.table)
        self.entry = self.table.add(REVISION, "found")
        self.saved: Saved | None = None

    @states(State.REMOVED)
    @rule()
    def back(self) -> None:
        gate = self.entry.gate
        self.entry = self.table.add(REVISION, "found again")
        assert self.entry.gate is gate

    @states(*STARTABLE)
    @rule()
    def load(self) -> None:
        generation: Any = object()
        number = self.entry.imports
        self.table.loading(self.entry)
        self.table.imported(self.entry, generation)
        assert self.entry.number == number + 1
        self.table.loaded(self.entry, object(), "loaded")

    @states(State.STOPPED, State.FAILED)
    @precondition(lambda self: self.saved is not None)
    @rule()
    def restore(self) -> None:
        assert self.saved is not None
        self.table.restored(self.entry, self.saved)
        assert self.entry.gate.is_held
        assert self.entry.saved == self.saved
        self.table.loaded(self.entry, object(), "restored")

    @states(State.LOADED)
    @rule()
    def set_up(self) -> None:
        running: Any = SimpleNamespace(is_dying=False)
        self.table.setting_up(self.entry, running, "its turn")
        assert self.entry.gate.is_held

    @states(State.SETTING_UP)
    @rule()
    def end_setup(self) -> None:
        running: Any = self.entry.running
        self.table.ready(self.entry, "done", 1.0)
        assert self.entry.gate.closed == running.is_dying

    @states(State.SETTING_UP, State.READY)
    @rule()
    def begin_to_die(self) -> None:
        running: Any = self.entry.running
        running.is_dying = True
        self.table.hold(self.entry)

    @states(State.SETTING_UP)
    @rule()
    def cancel_setup(self) -> None:
        self.table.stopped(self.entry, "cancelled", 1.0)

    @states(State.READY)
    @rule()
    def crash(self) -> None:
        self.table.failed(self.entry, ERROR, Stage.RUN, "a task", refusal="it crashed")

    @states(State.READY)
    @rule()
    def lose_loop(self) -> None:
        running = self.entry.running
        self.table.failed(
            self.entry, ERROR, Stage.RUN, "its loop", refusal="no loop", running=running
        )
        assert self.entry.running is running
        self.table.stopped(self.entry, "torn down late", 1.0)

    @states(State.READY)
    @rule()
    def tear_down(self) -> None:
        self.saved = self.entry.saved
        self.table.hold(self.entry)
        self.table.tearing_down(self.entry, "an edit")
        self.table.stopped(self.entry, "an edit", 1.0)
        assert self.entry.gate.is_held

    @states(*STARTABLE, State.SETTING_UP)
    @rule()
    def fail(self) -> None:
        self.table.failed(self.entry, ERROR, Stage.SETUP, "it raised", refusal="it failed")
        assert self.entry.gate.refusal == "it failed"

    @states(State.SETTING_UP)
    @precondition(lambda self: self.saved is not None)
    @rule()
    def fail_and_come_back(self) -> None:
        self.table.failed(self.entry, ERROR, Stage.SETUP, "it raised", refusal=None)
        assert self.entry.gate.is_held

    @states(*STARTABLE)
    @rule()
    def block(self) -> None:
        self.table.blocked(self.entry, ("demo/other",), "it waits")

    @states(*STARTABLE)
    @rule()
    def remove(self) -> None:
        self.entry.carry["key"] = 1
        self.table.removed(self.entry, "it is gone", refusal="it is gone")
        assert not self.entry.carry

    @states(*DOWN)
    @rule()
    def unload(self) -> None:
        self.table.unload(self.entry)
        self.saved = None

    @states(*STARTABLE, State.REMOVED)
    @rule()
    def end_everything(self) -> None:
        self.table.ended(self.entry, "the end")
        assert not self.entry.gate.is_held
        self.saved = None

    @states(State.READY)
    @rule()
    def keep_pending(self) -> None:
        self.table.note_pending(self.entry, ERROR)
        assert self.table.status(self.entry).pending

    @states(State.READY)
    @rule()
    def update(self) -> None:
        self.table.note_pending(self.entry, None)
        assert self.table.status(self.entry).error is self.entry.degraded_by

    @states(State.READY)
    @rule()
    def degrade(self) -> None:
        self.table.degrade(self.entry, ERROR)

    @states(State.READY)
    @rule()
    def recover(self) -> None:
        self.table.recover(self.entry)

    @invariant()
    def agrees(self) -> None:
        assert [*disagreements(self.table, self.entry), *self.agreement.found] == []


Lives.TestCase.settings = settings(max_examples=300, stateful_step_count=30)
TestLives = Lives.TestCase


async def test_an_observer_sees_the_whole_change(tree: PluginTree) -> None:
    registry = PluginRegistry()
    agreement = Agreement(registry.table)
    tree.plugin("base")
    tree.plugin("user", depends_on=["base"])
    tree.plugin("waiting", depends_on=["nowhere"])
    tree.plugin("broken", code="class Plugin:\n    def setup(self, ctx): 1 / 0\n")
    live = make_live(tree, registry=registry)
    async with live.server:
        tree.plugin("base", value=2)
        await live.settle()
        edit(tree.root / "base/plugin.py", "def setup(self, ctx):", "def setup(self):")
        await live.settle()
        tree.write("user/plugin.py", "class Plugin:")
        await live.settle()
        tree.plugin("nowhere")
        await live.settle()
        shutil.rmtree(tree.root / "nowhere")
        await live.settle()
    assert agreement.found == []
    assert not any(agreement.refused[State.READY])
    assert all(agreement.refused[State.BLOCKED] + agreement.refused[State.REMOVED])


async def test_an_observer_may_call_a_plugin_as_soon_as_it_is_ready(tree: PluginTree) -> None:
    registry = PluginRegistry()
    answers: list[int] = []

    def call(fact: Fact) -> None:
        if isinstance(fact, Transition) and fact.to_state is State.READY:
            answers.append(registry.get_plugin(*fact.ref).value())

    registry.observe(call)
    tree.plugin("base")
    live = make_live(tree, registry=registry)
    async with live.server:
        tree.plugin("base", value=2)
        await live.settle()
    assert answers == [1, 2]
