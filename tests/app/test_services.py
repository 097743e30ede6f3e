"""What a dev server offers to plugins, and what becomes of it when they are reloaded."""

from __future__ import annotations

import gc
import tempfile
import weakref
from dataclasses import replace
from pathlib import Path

import anyio
import pytest
import structlog
from serving import context, edit, ref
from trees import PluginTree

from dagstack_dev import (
    DevServer,
    InMemoryEventBus,
    MockProgressSink,
    PluginContext,
    PluginRegistry,
    SystemClock,
)

EVERYTHING = '[plugin.resources]\nrequired = ["clock", "rng", "blob_store", "tmpdir"]\n'

HEARING = """
class Plugin:
    VERSION = 1

    async def setup(self, ctx):
        self.journal = ctx.extras["journal"]
        await ctx.event_bus.subscribe("saved", self.on_saved)

    async def on_saved(self, payload):
        self.journal.append(f"{self.VERSION} heard {payload['number']}")
"""

STORING = """
class Plugin:
    VERSION = 1

    def setup(self, ctx):
        self.tmpdir, self.blobs = ctx.resources.tmpdir, ctx.resources.blob_store
        self.path = self.tmpdir.create_file("work", "in progress")
        self.before = ctx.checkpoint.load("cursor")
        ctx.checkpoint.save("cursor", f"{self.VERSION}".encode())
        if self.VERSION == 3:
            raise ValueError("no")
"""

CONNECTED = """
class Plugin:
    VERSION = 1

    def setup(self, ctx):
        self.http = ctx.resources.http_client

    async def ask(self, url):
        return await self.http.get(url)
"""


@pytest.fixture
def system_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What the system would offer for temporary folders."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


async def test_after_a_reload_events_are_heard_once_and_by_the_new_generation(
    tree: PluginTree,
) -> None:
    path = tree.plugin("ear", code=HEARING)
    bus = InMemoryEventBus()
    journal: list[str] = []

    async def publish(number: int) -> None:
        await bus.publish("saved", {"number": number})
        await anyio.wait_all_tasks_blocked()

    async with DevServer(tree.root, context=replace(context(journal), event_bus=bus)) as server:
        await publish(1)
        edit(path / "plugin.py", "VERSION = 1", "VERSION = 2")
        await server.wait_idle()
        await publish(2)
        edit(path / "plugin.py", "self.on_saved)\n", "self.on_saved)\n        raise ValueError\n")
        edit(path / "plugin.py", "VERSION = 2", "VERSION = 3")
        await server.wait_idle()
        await publish(3)
        await server.reload()
        await publish(4)
    await publish(5)
    assert journal == ["1 heard 1", "2 heard 2", "2 heard 3", "2 heard 4"]


async def test_the_standard_resources_and_services_are_there(
    tree: PluginTree, system_folder: Path
) -> None:
    tree.plugin("it", manifest=EVERYTHING)
    async with DevServer(tree.root) as server:
        ctx = server.registry.get_plugin("demo", "it").ctx
        assert isinstance(ctx.resources.clock, SystemClock)
        assert None not in (ctx.event_bus, ctx.progress, ctx.checkpoint)
        ctx.tenant_or_default().check_access("document", "42")


async def test_a_context_without_a_registry_is_filled_up(tree: PluginTree) -> None:
    tree.plugin("it", manifest=EVERYTHING)
    sink = MockProgressSink()
    given = PluginContext(config={}, logger=structlog.get_logger(), registry=None, progress=sink)
    async with DevServer(tree.root, context=given) as server:
        ctx = server.registry.get_plugin("demo", "it").ctx
        ctx.progress.done()
        assert sink.done_called
        assert ctx.event_bus is not None
    assert given.event_bus is None


async def test_the_registry_of_an_app_offers_what_the_app_has_put_there(tree: PluginTree) -> None:
    tree.plugin("it", manifest='[plugin.resources]\nrequired = ["clock"]\n')
    registry = PluginRegistry()
    async with DevServer(tree.root, context=context(registry=registry)) as server:
        [status] = server.statuses().values()
        assert status.state == "failed"
        assert "register_standard()" in str(status.error)
        assert registry.resources.names() == []
        registry.resources.register_standard()
        await server.reload()
        [status] = server.statuses().values()
        assert status.state == "ready"


async def test_each_generation_has_a_tmpdir_of_its_own_and_checkpoints_go_on(
    tree: PluginTree, system_folder: Path
) -> None:
    path = tree.plugin("it", code=STORING, manifest=EVERYTHING)
    async with DevServer(tree.root) as server:
        plugin = server.registry.get_plugin("demo", "it")
        first = plugin.path
        assert (first.read_text(), plugin.before) == ("in progress", None)
        plugin.blobs.put("kept", b"1")
        edit(path / "plugin.py", "VERSION = 1", "VERSION = 2")
        await server.wait_idle()
        second = plugin.path
        assert not first.exists()
        assert [*system_folder.iterdir()] == [second.parent]
        assert (plugin.before, plugin.blobs.get("kept")) == (b"1", b"1")
        edit(path / "plugin.py", "VERSION = 2", "VERSION = 3")
        await server.wait_idle()
        assert not second.exists()
        assert [*system_folder.iterdir()] == [plugin.path.parent], "nothing of who failed is left"
        assert (plugin.VERSION, plugin.before) == (2, b"3")
    assert not [*system_folder.iterdir()]


async def test_the_http_client_is_closed_with_its_generation(tree: PluginTree) -> None:
    path = tree.plugin(
        "it", code=CONNECTED, manifest='[plugin.resources]\nrequired = ["http_client"]\n'
    )
    async with DevServer(tree.root) as server:
        plugin = server.registry.get_plugin("demo", "it")
        old = plugin.http
        with pytest.raises(Exception, match="All connection attempts failed"):
            await plugin.ask("http://127.0.0.1:1/")
        connections = old._client
        edit(path / "plugin.py", "VERSION = 1", "VERSION = 2")
        await server.wait_idle()
        assert connections.is_closed
        assert plugin.http is not old
        with pytest.raises(RuntimeError, match="has been closed"):
            await old.get("http://127.0.0.1:1/")


async def test_nothing_of_an_old_generation_is_kept_by_a_service(
    tree: PluginTree, system_folder: Path
) -> None:
    code = HEARING.replace(
        "        self.journal",
        """\
        self.ctx, self.resources = ctx, ctx.resources
        ctx.progress.done()
        ctx.checkpoint.save("cursor", b"1")
        self.resources.tmpdir.create_file()
        self.journal""",
        1,
    )
    path = tree.plugin("ear", code=code, manifest=EVERYTHING)
    async with DevServer(tree.root, context=context([])) as server:
        old = weakref.ref(server.registry.table.entries[ref("ear")].instance)
        edit(path / "plugin.py", "VERSION = 1", "VERSION = 2")
        await server.wait_idle()
        gc.collect()
        assert old() is None
