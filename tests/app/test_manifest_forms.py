"""Hot reload of plugins whose manifest has another form, and of a change of the form."""

from __future__ import annotations

from pathlib import Path

import pytest
from serving import edit, serving
from trees import PluginTree

from dagstack_dev import ManifestInvalid, State
from dagstack_dev.core.events import PluginRejected, ReloadCommitted, ReloadSkipped, WatchProblem

FIELDS = """
name = "one"
kind = "demo"
core_version = ">=0.1"
runtime = "in_process"
entry_point = "plugin:Plugin"
priority = 1
"""
JSON = (
    '{"name": "one", "kind": "demo", "core_version": ">=0.1", "runtime": "in_process",\n'
    '"entry_point": "plugin:Plugin",\n"priority": 1}'
)
FORMS = {
    "dagstack_plugin.toml": FIELDS,
    "dagstack.json": JSON,
    "pyproject.toml": f"[project]\nname = 'x'\n[tool.dagstack.plugin]{FIELDS}",
    "package.json": f'{{"name": "x",\n"dagstack": {JSON}}}',
}


def write(tree: PluginTree, name: str) -> Path:
    """A plugin `one` with its manifest in the file `name`."""
    (tree.plugin("one") / "dagstack.toml").unlink()
    return tree.write(f"one/{name}", FORMS[name])


def priority(live: object) -> int:
    return live.server.registry.list_manifests()[0].priority  # type: ignore[attr-defined, no-any-return]


@pytest.mark.parametrize("name", FORMS)
async def test_code_and_manifest_are_reloaded_in_every_form(tree: PluginTree, name: str) -> None:
    path = write(tree, name)
    async with serving(tree) as live:
        edit(tree.root / "one/plugin.py", "VALUE = 1", "VALUE = 2")
        await live.settle()
        assert live.plugin("one").value() == 2
        edit(path, "1\n" if name.endswith(".toml") else "1}", "7\n" if "toml" in name else "7}")
        await live.settle()
        assert live.outcomes == [ReloadCommitted]
        assert priority(live) == 7


@pytest.mark.parametrize("name", FORMS)
async def test_a_broken_manifest_is_rejected_in_every_form(tree: PluginTree, name: str) -> None:
    path = write(tree, name)
    async with serving(tree) as live:
        instance = live.instance("one")
        for old, new in (("in_process", "nowhere"), ('"demo"', '"demo')):
            edit(path, old, new)
            await live.settle()
            [rejected] = live.of(PluginRejected)
            assert rejected.error is not None
            assert name in str(rejected.error)
            assert live.instance("one") is instance
            assert live.status("one").pending
            edit(path, new, old)
            await live.settle()
            assert not live.status("one").pending
        assert live.state("one") is State.READY


async def test_a_dagstack_toml_that_comes_takes_precedence_until_it_goes(
    tree: PluginTree,
) -> None:
    write(tree, "package.json")
    async with serving(tree) as live:
        proxy = live.plugin("one")
        added = tree.write("one/dagstack.toml", f"[plugin]{FIELDS}".replace("= 1", "= 5"))
        await live.settle()
        assert live.outcomes == [ReloadCommitted]
        assert priority(live) == 5
        [problem] = live.of(WatchProblem)
        assert problem.path == str(tree.root / "one/package.json")
        assert "dagstack.toml beside it takes precedence" in problem.message
        added.unlink()
        await live.settle()
        assert live.outcomes == [ReloadCommitted]
        assert priority(live) == 1
        assert live.plugin("one") is proxy
        assert live.status("one").generation == 3


async def test_another_form_may_give_the_plugin_another_name(tree: PluginTree) -> None:
    write(tree, "package.json")
    async with serving(tree) as live:
        tree.write("one/dagstack.toml", f"[plugin]{FIELDS}".replace('"one"', '"two"'))
        await live.settle()
        assert live.states == {"two": "ready"}


async def test_an_edit_of_a_form_that_is_not_in_force_leaves_the_manifest_alone(
    tree: PluginTree,
) -> None:
    tree.plugin("one")
    other = tree.write("one/package.json", f'{{"dagstack": {JSON}}}')
    async with serving(tree) as live:
        edit(other, '"priority": 1', '"priority": "wrong"')
        await live.settle()
        assert priority(live) == 0
        assert live.of(PluginRejected) == []


async def test_two_forms_that_say_the_same_are_no_problem(tree: PluginTree) -> None:
    write(tree, "dagstack.json")
    tree.write("one/package.json", f'{{"dagstack": {JSON}}}')
    async with serving(tree) as live:
        assert live.of(WatchProblem) == []
        assert live.states == {"one": "ready"}


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("pyproject.toml", "[tool.dagstack.plugin]", "[tool.other]"),
        ("package.json", '"dagstack"', '"other"'),
    ],
)
async def test_a_file_that_loses_or_gains_the_table_ends_or_begins_the_plugin(
    tree: PluginTree, name: str, old: str, new: str
) -> None:
    path = write(tree, name)
    tree.plugin("inner", folder="one/inner")
    async with serving(tree) as live:
        assert live.states == {"one": "ready"}
        edit(path, old, new)
        await live.settle()
        assert live.states == {"inner": "ready"}
        edit(path, new, old)
        await live.settle()
        assert live.states == {"one": "ready"}


async def test_events_alone_tell_of_all_that(tree: PluginTree) -> None:
    """Nothing here asks the server to look everywhere."""
    path = write(tree, "pyproject.toml")
    async with serving(tree) as live:
        live.forget()
        edit(path, "priority = 1", "priority = 9")
        await live.fact(ReloadCommitted)
        assert priority(live) == 9
        live.forget()
        tree.write("one/dagstack.toml", f"[plugin]{FIELDS}")
        await live.fact(ReloadCommitted)
        assert priority(live) == 1


async def test_a_project_file_above_the_plugins_is_nothing_to_them(tree: PluginTree) -> None:
    tree.plugin("one")
    path = tree.write("pyproject.toml", "[project]\nname = 'x'\n")
    async with serving(tree) as live:
        edit(path, "'x'", "'y'")
        await live.server.wait_idle()
        assert live.outcomes == []
        assert live.of(ReloadSkipped) or live.states == {"one": "ready"}


def test_a_manifest_of_another_form_is_named_when_its_entry_point_leads_nowhere(
    tree: PluginTree,
) -> None:
    from dagstack_dev import discover

    path = write(tree, "package.json")
    edit(path, "plugin:Plugin", "plugn:Plugin")
    with pytest.raises(ManifestInvalid) as caught:
        discover(tree.root)
    assert str(caught.value).startswith(f"{path}:3: entry_point: there is no plugn.py in ")
