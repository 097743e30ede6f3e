"""Receipts: whether what runs of a plugin is what is on disk, by all that it is built from."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from answering import answering
from serving import ref
from sharing import user
from trees import PluginTree

from dagstack_dev import PluginRegistry
from dagstack_dev.api.backend import Activity, Backend
from dagstack_dev.app.reload import collect
from dagstack_dev.core.events import ReloadCommitted

pytestmark = pytest.mark.usefixtures("imports_forgotten")


def keys(plugin: dict[str, Any]) -> tuple[str | None, str | None]:
    return plugin["receipt"]["running"], plugin["receipt"]["on_disk"]


def current(plugins: dict[str, Any]) -> dict[str, bool]:
    return {name: each["receipt"]["is_current"] for name, each in plugins.items()}


async def test_an_edit_of_shared_code_changes_the_keys_of_what_imports_it(tree: PluginTree) -> None:
    helper = tree.root / "helpers" / "units.py"
    tree.write("helpers/__init__.py", "")
    tree.write(helper, "SIZE = 1\n")
    user(tree, "one", "from helpers.units import SIZE", "SIZE")
    tree.plugin("above", depends_on=["one"])
    tree.plugin("other")
    async with answering(tree) as server:
        before = await server.wait()
        assert all(current(before).values())
        tree.write(helper, "SIZE = 2\n")
        after = await server.wait()
        assert all(current(after).values())
        differ = {name for name in before if keys(before[name]) != keys(after[name])}
        assert differ == {"one", "above"}
        tree.write(helper, "SIZE = 1\n")
        assert {name: keys(each) for name, each in (await server.wait()).items()} == {
            name: keys(each) for name, each in before.items()
        }


async def test_broken_shared_code_is_not_what_its_importers_run(tree: PluginTree) -> None:
    helper = tree.root / "helpers" / "units.py"
    tree.write("helpers/__init__.py", "")
    tree.write(helper, "SIZE = 1\n")
    user(tree, "one", "from helpers.units import SIZE", "SIZE")
    user(tree, "two", "from helpers import units", "units.SIZE")
    tree.plugin("above", depends_on=["one"])
    tree.plugin("other")
    async with answering(tree) as server:
        before = await server.wait()
        for text in ("SIZE = (\n", "SIZE = 1 / 0\n"):
            tree.write(helper, text)
            broken = await server.wait()
            assert current(broken) == {"one": False, "two": False, "above": False, "other": True}
            assert keys(broken["one"])[0] == keys(before["one"])[0] != keys(broken["one"])[1]
            assert not (await server.at_rest())["is_current"]
        helper.unlink()
        assert not current(await server.wait())["two"]
        tree.write(helper, "SIZE = 1\n")
        again = await server.wait()
        assert all(current(again).values())
        assert keys(again["one"]) == keys(before["one"])


async def test_what_depends_on_a_pending_plugin_is_not_current(tree: PluginTree) -> None:
    tree.plugin("base")
    tree.plugin("middle", depends_on=["base"])
    tree.plugin("top", depends_on=["middle"])
    tree.plugin("other")
    async with answering(tree) as server:
        before = await server.wait()
        tree.plugin("base", code="def (")
        pending = await server.wait()
        assert current(pending) == {"base": False, "middle": False, "top": False, "other": True}
        base, top = pending["base"]["receipt"], pending["top"]["receipt"]
        assert "SyntaxError" in base["pending"]
        assert base["pending_since"] is not None
        assert top["pending"] is None
        assert top["running"] == before["top"]["receipt"]["running"] != top["on_disk"]
        assert pending["top"]["state"] == "ready"
        assert top["because"] == []
        assert top["reason"] == "its dependency demo/middle is not what is on disk"
        assert base["reason"] == base["pending"]
        tree.plugin("base")
        assert all(current(await server.wait()).values())


async def test_a_section_that_does_not_fit_is_not_what_runs(
    tree: PluginTree, tmp_path: Path
) -> None:
    schema = """
[plugin.config_schema]
type = "object"
properties.size.type = "integer"
"""
    tree.plugin("one", manifest=schema)
    tree.plugin("other")
    config = tmp_path / "dev.toml"
    config.write_text("[demo.one]\nsize = 1\n")
    async with answering(tree, config_file=config) as server:
        before = await server.wait()
        assert all(current(before).values())
        config.write_text("[demo.one]\nsize = 2\n")
        edited = await server.wait()
        assert all(current(edited).values())
        assert keys(edited["one"]) != keys(before["one"])
        assert keys(edited["other"]) == keys(before["other"])
        config.write_text("[demo.one]\nsize = 'x'\n")
        pending = await server.wait()
        assert current(pending) == {"one": False, "other": True}
        assert pending["one"]["receipt"]["running"] == keys(edited["one"])[0]
        assert "size" in pending["one"]["receipt"]["pending"]


async def test_edits_that_wait_are_not_what_runs(tree: PluginTree) -> None:
    tree.plugin("one")
    tree.plugin("above", depends_on=["one"])
    tree.plugin("other")
    async with answering(tree) as server:
        assert (await server.at_rest())["is_current"]
        await server.post("pause", paused=True)
        server.live.server._loop.inbox.put_paths({str(tree.plugin("one", value=2))})
        while (status := await server.get("status"))["is_busy"]:
            pass
        assert status["is_paused"]
        assert status["has_edits_waiting"]
        assert not status["is_current"]
        waiting = {each["plugin"]: each["receipt"] for each in status["plugins"]}
        assert {name: each["is_current"] for name, each in waiting.items()} == {
            "demo/one": False,
            "demo/above": False,
            "demo/other": True,
        }
        assert "dagstack-dev resume" in waiting["demo/one"]["reason"]
        assert waiting["demo/above"]["reason"] == "its dependency demo/one is not what is on disk"
        assert waiting["demo/other"]["reason"] is None
        reloaded = await server.post("reload", plugins=["demo/one"])
        assert not reloaded["plugins"][0]["receipt"]["is_current"]
        assert reloaded["plugins"][0]["receipt"]["generation"] == 2
        await server.live.server.wait_idle()
        assert (await server.get("status"))["has_edits_waiting"]
        await server.post("pause", paused=True)
        assert (await server.get("status"))["has_edits_waiting"]
        await server.post("pause", paused=False)
        now = await server.wait()
        assert now["one"]["receipt"]["generation"] == 3
        assert all(current(now).values())


async def test_what_reloads_nothing_is_no_edit_that_waits(tree: PluginTree) -> None:
    plugin = tree.plugin("one") / "plugin.py"
    async with answering(tree) as server:
        await server.post("pause", paused=True)
        inbox = server.live.server._loop.inbox
        cache = tree.write("one/__pycache__/plugin.cpython-313.pyc", "code")
        inbox.put_paths({str(cache), str(tree.write("one/plugin.py~", "before"))})
        before = plugin.read_text()
        plugin.write_text(before)
        inbox.put_paths({str(plugin)})
        assert not (await server.get("status"))["has_edits_waiting"]
        plugin.write_text(f"{before}# edited")
        inbox.put_paths({str(plugin)})
        assert (await server.get("status"))["has_edits_waiting"]
        plugin.write_text(before)
        inbox.put_paths({str(plugin)})
        while (status := await server.get("status"))["is_busy"]:
            pass
        assert not status["has_edits_waiting"]
        assert status["is_current"]


async def test_what_a_plugin_writes_itself_is_no_edit_that_waits(tree: PluginTree) -> None:
    code = """
    from pathlib import Path

    class Plugin:
        def note(self):
            Path(__file__).with_name("notes.txt").write_text("mine")
    """
    notes = tree.plugin("one", code=code) / "notes.txt"
    async with answering(tree) as server:
        await server.post("pause", paused=True)
        inbox = server.live.server._loop.inbox
        await server.post("call", plugin="demo/one", method="note")
        inbox.put_paths({str(notes)})
        assert notes.exists()
        assert not (await server.get("status"))["has_edits_waiting"]


async def test_the_chain_leads_to_the_root_cause(tree: PluginTree) -> None:
    tree.plugin("base", code="class Plugin:\n    def setup(self, ctx):\n        1 / 0\n")
    tree.plugin("middle", depends_on=["base"])
    tree.plugin("top", depends_on=["middle"])
    tree.plugin("lonely", depends_on=["nobody"])
    async with answering(tree) as server:
        plugins = await server.wait()
        *refs, cause = plugins["top"]["receipt"]["because"]
        assert refs == ["demo/top", "demo/middle", "demo/base"]
        assert "ZeroDivisionError" in cause
        assert f"{tree.root}/base/plugin.py:3" in cause
        assert plugins["lonely"]["depends_on"] == ["nobody"]
        assert plugins["lonely"]["receipt"]["because"] == ["demo/lonely", "nobody does not exist"]


async def test_the_root_cause_is_always_that_of_now(tree: PluginTree) -> None:
    failing = "class Plugin:\n    def setup(self, ctx):\n        raise ValueError({!r})\n"
    tree.plugin("above", depends_on=["base"])
    async with answering(tree) as server:
        for text in ("first", "second"):
            tree.plugin("base", code=failing.format(text))
            assert text in (await server.wait())["above"]["receipt"]["because"][-1]


async def test_a_plugin_of_the_app_itself_is_current(tree: PluginTree) -> None:
    tree.plugin("one")
    registry = PluginRegistry()
    manifest = {
        "name": "own",
        "kind": "demo",
        "core_version": ">=0.1,<1",
        "runtime": "in_process",
        "entry_point": "own:Own",
    }
    registry.register_manifest(manifest, object())
    async with answering(tree, registry=registry) as server:
        plugins = await server.wait()
        assert current(plugins) == {"own": True, "one": True}
        assert plugins["own"]["path"] is None


async def test_a_reload_is_reported_with_its_steps_whatever_came_of_it(tree: PluginTree) -> None:
    tree.plugin("one")
    async with answering(tree) as server:
        tree.plugin("one", value=2)
        await server.live.fact(ReloadCommitted, lambda fact: ref("one") in fact.changed)
        tree.plugin("one", code="class Plugin:\n    def setup(self, ctx):\n        1 / 0\n")
        await server.wait()
        reloads = (await server.get("reloads"))["reloads"]
        assert [each["outcome"] for each in reloads[-2:]] == ["committed", "rolled_back"]
        committed, rolled_back = reloads[-2:]
        steps = [each["step"] for each in committed["phases"]]
        assert steps[-3:] == ["teardown", "import", "setup"]
        assert {str(Path(each).parent) for each in committed["paths"]} == {str(tree.root / "one")}
        assert "ZeroDivisionError" in rolled_back["errors"]["demo/one"]["type"]
        one = await server.get("plugins", "demo", "one")
        assert one["last_reload"]["id"] == rolled_back["id"]


async def test_what_is_refused_and_of_no_plugin_is_named_until_it_is_mended(
    tree: PluginTree, tmp_path: Path
) -> None:
    config = tmp_path / "config.toml"
    config.write_text("")
    tree.plugin("one")
    async with answering(tree, config_file=config) as server:

        async def refused() -> dict[str, str]:
            status = await server.at_rest()
            assert status["is_current"] == (not status["refused"])
            assert all(each["receipt"]["is_current"] for each in status["plugins"])
            return dict(status["refused"])

        assert await refused() == {}
        broken = tree.write("new/dagstack.toml", "[plugin\n")
        second = tree.plugin("one", folder="second")
        config.write_text("[demo\n")
        found = await refused()
        assert {*found} == {str(broken.parent), str(second), str(config)}
        assert "dagstack.toml:1" in found[str(broken.parent)]
        assert "demo/one" in found[str(second)]
        config.write_text("")
        tree.plugin("new")
        tree.plugin("two", folder="second")
        assert await refused() == {}
        tree.plugin("two", folder="one")
        assert not (await server.at_rest())["is_current"]


async def test_a_folder_whose_plugin_is_known_is_refused_no_more(tree: PluginTree) -> None:
    tree.plugin("one")
    async with answering(tree) as server:
        tree.write("new/dagstack.toml", "[plugin\n")
        assert (await server.at_rest())["refused"]
        tree.plugin("new", code="class Plugin:\n    def setup(self, ctx):\n        1 / 0\n")
        status = await server.at_rest()
        assert status["plugins"][-1]["state"] == "failed"
        assert not status["refused"]


async def test_a_save_right_after_all_has_come_to_rest_is_not_part_of_the_answer(
    tree: PluginTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collect, "DEBOUNCE_LIMIT_SECONDS", math.inf)
    plugin = tree.plugin("one") / "plugin.py"
    reload = Backend.reload

    async def reload_and_save(self: Backend, *args: Any, **options: Any) -> Activity:
        at_rest = await reload(self, *args, **options)
        plugin.write_text("")  # It is waited for what an editor writes next.
        server.live.server._loop.inbox.put_paths({str(plugin)})
        return at_rest

    async with answering(tree, debounce_ms=60_000) as server:
        monkeypatch.setattr(Backend, "reload", reload_and_save)
        status = await server.at_rest()
        assert status["is_current"]
        assert not status["is_busy"]
        assert (await server.get("status"))["is_busy"]
