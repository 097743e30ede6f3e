"""Who is dispatched to, held against the plainest way to find it out."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from dagstack_dev.core.lifecycle import Stage, State
from dagstack_dev.core.manifest.fields import PluginManifest
from dagstack_dev.host.plugins.entry import Entry, Revision
from dagstack_dev.host.plugins.table import PluginTable

HOOKS = ("find", "parse")
WORDS = ("a", "b", "c")

manifests = st.builds(
    lambda name, priority, band, languages, extensions, fallback: {
        "name": name,
        "priority": priority,
        "tryfirst": band == "first",
        "trylast": band == "last",
        "supports_languages": languages,
        "supports_extensions": extensions,
        "fallback": fallback,
    },
    st.sampled_from("abcdef"),
    st.integers(0, 2),
    st.sampled_from(["first", "", "last"]),
    st.lists(st.sampled_from(WORDS), max_size=2),
    st.lists(st.sampled_from(WORDS), max_size=2),
    st.booleans(),
)
abilities = st.sets(st.sampled_from([*HOOKS, "matches"]))
steps = st.lists(
    st.tuples(st.sampled_from(["up", "fail", "remove", "ask"]), manifests, abilities),
    max_size=25,
)
inputs = st.dictionaries(
    st.sampled_from(["language", "extension"]), st.sampled_from(WORDS), max_size=2
)


def plugin_with(methods: set[str]) -> object:
    return type("Plugin", (), {name: lambda self: None for name in methods})()


class Model:
    """A table of plugins, and the answers as one would look them up by hand."""

    def __init__(self) -> None:
        self.table = PluginTable({})
        self.members = self.table.members
        self.up: dict[str, tuple[Entry, set[str]]] = {}

    def bring_up(self, fields: dict[str, Any], methods: set[str]) -> None:
        manifest = PluginManifest.model_validate(
            {
                "kind": "demo",
                "core_version": ">=0.1",
                "runtime": "in_process",
                "entry_point": "p:P",
                **fields,
            }
        )
        table, revision = self.table, Revision(manifest)
        self.bring_down(manifest.name, State.STOPPED)
        entry = table.entries.get(manifest.ref)
        if entry is None or table.states[manifest.ref] is State.REMOVED:
            entry = table.add(revision, "test")
        table.revise(entry, revision)
        table.loaded(entry, plugin_with(methods), "test")
        running: Any = SimpleNamespace(is_dying=False)
        table.setting_up(entry, running, "test")
        table.ready(entry, "test", 0.0)
        self.up[manifest.name] = entry, methods

    def bring_down(self, name: str, state: State) -> None:
        if name in self.up:
            entry, _ = self.up.pop(name)
            self.table.tearing_down(entry, "test")
            self.table.stopped(entry, "test", 0.0)
            if state is State.FAILED:
                error = RuntimeError("it failed")
                self.table.failed(entry, error, Stage.SETUP, "test", refusal="it failed")
            elif state is State.REMOVED:
                self.table.removed(entry, "test", refusal="it was removed")

    def in_order(self, chosen: Callable[[PluginManifest, set[str]], bool]) -> list[str]:
        found = [
            entry.manifest for entry, methods in self.up.values() if chosen(entry.manifest, methods)
        ]

        def place(manifest: PluginManifest) -> Any:
            band = 0 if manifest.tryfirst else 2 if manifest.trylast else 1
            return band, -manifest.priority, manifest.name

        return [manifest.name for manifest in sorted(found, key=place)]


def may_take(manifest: PluginManifest, methods: set[str], traits: dict[str, Any]) -> bool:
    declared = {
        "language": manifest.supports_languages,
        "extension": manifest.supports_extensions,
    }
    if any(word in declared[name] for name, word in traits.items()):
        return True
    return "matches" in methods and not any(declared[name] for name in traits)


@settings(max_examples=200)
@given(steps, inputs)
def test_the_index_answers_as_a_look_at_every_plugin_would(
    script: list[tuple[str, dict[str, Any], set[str]]], traits: dict[str, Any]
) -> None:
    model = Model()

    def check() -> None:
        live = [*model.up]
        for hook in HOOKS:
            having = [each for each in model.members.having("demo", hook) if each.ref.name in live]
            assert [each.ref.name for each in having if each.is_ready or each.gate.is_held] == (
                model.in_order(lambda _, methods, hook=hook: hook in methods)  # type: ignore[misc]
            )
        found, fallbacks = model.members.matching("demo", "parse", (), traits)
        assert [each.ref.name for each in found if each.is_ready] == model.in_order(
            lambda manifest, methods: "parse" in methods and may_take(manifest, methods, traits)
        )
        assert [each.ref.name for each in fallbacks if each.is_ready] == model.in_order(
            lambda manifest, methods: "parse" in methods and manifest.fallback
        )

    for step, fields, methods in script:
        if step == "up":
            model.bring_up(fields, methods)
        elif step == "ask":
            check()
        else:
            state = State.FAILED if step == "fail" else State.REMOVED
            model.bring_down(fields["name"], state)
    check()


def test_what_is_removed_is_let_go_of() -> None:
    model = Model()
    model.bring_up({"name": "a"}, {"find", "matches"})
    assert model.members.having("demo", "find")
    model.members.matching("demo", "find", (), {})
    model.bring_down("a", State.REMOVED)
    assert model.members.having("demo", "find") == []
    assert model.members.matching("demo", "find", (), {}) == ([], [])


def test_a_lookup_touches_only_what_it_answers(monkeypatch: Any) -> None:
    model = Model()
    for number in range(200):
        model.bring_up({"name": f"other{number}"}, {"find"})
    model.bring_up({"name": "it"}, {"parse"})
    assert [each.ref.name for each in model.members.having("demo", "parse")] == ["it"]
    monkeypatch.setattr("dagstack_dev.host.plugins.members.Member.has", None)
    assert [each.ref.name for each in model.members.having("demo", "parse")] == ["it"]
