"""The examples of docs/services.md do what it says."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import anyio
import pytest
from command_runs import CHECKOUT, GUARD_SECONDS
from serving import context, edit
from trees import PluginTree

import dagstack_dev
from dagstack_dev import (
    STANDARD_RESOURCES,
    DevServer,
    PluginRegistry,
    ResourceRegistry,
)

PAGE = (Path(__file__).parents[2] / "docs" / "services.md").read_text(encoding="utf-8")
BLOCKS = dict(re.findall(r"```(?:python|toml)\n# (\S+)\n(.*?)```", PAGE, re.DOTALL))


def plugin(tree: PluginTree, name: str, manifest: str = "") -> Path:
    """Write the plugin that the page shows under this name."""
    code = BLOCKS[f"plugins/{name}/plugin.py"].replace(f"class {name.title()}", "class Plugin")
    return tree.plugin(name, code=code, manifest=manifest)


def test_every_example_is_executed_below() -> None:
    plugins = {f"plugins/{name}/plugin.py" for name in ("feed", "index", "mirror", "crawler")}
    others = {"plugins/feed/dagstack.toml", "host.py", "test_feed.py", "resources.py"}
    assert set(BLOCKS) == plugins | others


def test_the_table_names_the_standard_resources_and_public_classes() -> None:
    rows = re.findall(r"^\| `(\w+)` \|.*\|(.*)\|(.*)\|$", PAGE, re.MULTILINE)
    assert tuple(name for name, *_ in rows) == STANDARD_RESOURCES
    classes = re.findall(r"`([A-Z]\w+?[a-z]\w*)", "".join(cell for row in rows for cell in row[1:]))
    assert set(classes) <= {*dir(dagstack_dev)}
    assert len(classes) == 11


def test_the_host_sets_the_feed_up(tmp_path: Path) -> None:
    tree = PluginTree(tmp_path / "plugins")
    tree.write("feed/dagstack.toml", BLOCKS["plugins/feed/dagstack.toml"])
    tree.write("feed/plugin.py", BLOCKS["plugins/feed/plugin.py"])
    asked = "import logging\n\nlogging.basicConfig(level='INFO')\n"
    tree.write(tmp_path / "host.py", asked + BLOCKS["host.py"])
    done = subprocess.run(
        [sys.executable, "host.py"],
        cwd=tmp_path,
        env=CHECKOUT,
        capture_output=True,
        text=True,
        timeout=GUARD_SECONDS,
        check=False,
    )
    assert (done.returncode, "plugin.stopped" in done.stderr) == (0, True), done.stderr


@pytest.mark.parametrize("name", ["test_a_page_is_filed_by_date", "test_without_a_cache"])
async def test_the_test_of_the_feed_passes(name: str, tmp_path: Path) -> None:
    names: dict[str, Any] = {}
    exec(BLOCKS["plugins/feed/plugin.py"] + BLOCKS["test_feed.py"], names)
    result = names[name](names["Feed"](), tmp_path if "page" in name else context())
    if result is not None:
        await result


async def test_the_resources_of_the_app(tree: PluginTree) -> None:
    names: dict[str, Any] = {}
    exec(BLOCKS["resources.py"], names)
    resources: ResourceRegistry = names["resources"]
    manifest = '[plugin.resources]\nrequired = ["cache", "database"]\n'
    tree.plugin("it", manifest=manifest)
    tree.plugin("own", kind="internal", manifest=manifest)
    registry = PluginRegistry(resource_registry=resources)
    async with DevServer(tree.root, registry=registry):
        mine = registry.get_plugin("demo", "it").ctx.resources
        assert (mine.cache.get("greeting"), mine.cache.asked) == ("hello", 1)
        own = registry.get_plugin("internal", "own").ctx.resources
        assert own.cache is resources.get("cache")
        assert own.database is not mine.database
        database = mine.database
        assert database.execute("SELECT 1").fetchone() == (1,)
    with pytest.raises(Exception, match="closed database"):
        database.execute("SELECT 1")


async def test_the_index_hears_of_pages(tree: PluginTree) -> None:
    plugin(tree, "index")
    async with DevServer(tree.root) as server:
        index = server.registry.get_plugin("demo", "index")
        indexed: list[dict[str, Any]] = []
        bus = server._context.event_bus
        await bus.subscribe("page.indexed", indexed.append)
        await bus.publish("page.saved", {"title": "News"})
        with anyio.fail_after(GUARD_SECONDS):
            while not indexed:
                await anyio.lowlevel.checkpoint()
        assert (index.pages, indexed) == (["News"], [{"pages": 1}])


async def test_the_mirror_says_how_far_it_is(
    tree: PluginTree, captured_events: list[dict[str, Any]]
) -> None:
    plugin(tree, "mirror")
    async with DevServer(tree.root) as server:
        server.registry.get_plugin("demo", "mirror").copy(["a", "b", "c"])
    told = [each for each in captured_events if each["event"].startswith("progress")]
    assert [(each["event"], each.get("current")) for each in told] == [
        ("progress", 1),
        ("progress", 3),
        ("progress.done", None),
    ]
    assert {each["plugin"] for each in told} == {"demo/mirror"}


async def test_the_crawler_goes_on_where_it_was(tree: PluginTree) -> None:
    path = plugin(tree, "crawler")
    async with DevServer(tree.root) as server:
        crawler = server.registry.get_plugin("demo", "crawler")
        crawler.crawl()
        crawler.crawl()
        edit(path / "plugin.py", "self.page += 1", "self.page += 10")
        await server.wait_idle()
        crawler.crawl()
        assert crawler.page == 12
