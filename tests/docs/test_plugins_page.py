"""The examples of docs/plugins.md do what it says."""

from __future__ import annotations

import re
from pathlib import Path

import anyio
import pytest
from serving import Live, ref, serving
from trees import PluginTree

PAGE = (Path(__file__).parents[2] / "docs" / "plugins.md").read_text(encoding="utf-8")
BLOCKS = dict(re.findall(r"```python\n# plugins/(\w+)/plugin.py\n(.*?)```", PAGE, re.DOTALL))
METHODS = re.findall(r"^\| `(?:await )?ctx\.(\w+)\(", PAGE, re.MULTILINE)


@pytest.fixture
def shown(tree: PluginTree) -> PluginTree:
    """Every plugin that the page shows."""
    for name, code in BLOCKS.items():
        tree.plugin(name, code=code.replace(f"class {name.title()}", "class Plugin"))
    return tree


async def until_seen(live: Live, count: int) -> None:
    with anyio.fail_after(10):
        while live.plugin("feed").count() < count:
            await anyio.sleep(0.001)


async def test_the_feed_carries_what_it_has_seen_through_a_reload(shown: PluginTree) -> None:
    async with serving(shown) as live:
        await until_seen(live, 3)
        database = live.instance("feed").database
        shown.write("feed/plugin.py", (shown.root / "feed/plugin.py").read_text() + "# newer\n")
        await live.settle()
        assert live.status("feed").generation == 2
        assert live.plugin("feed").count() == 3
        with pytest.raises(Exception, match="closed database"):
            database.execute("SELECT 1")


async def test_the_poller_stops_its_thread(shown: PluginTree) -> None:
    async with serving(shown) as live:
        poller = live.instance("poller")
        with anyio.fail_after(10):
            while not poller.rounds:
                await anyio.sleep(0.001)
        await live.server.reload(ref("poller"))
        assert live.instance("poller") is not poller
        rounds = poller.rounds
        assert poller.rounds == rounds


def test_the_page_lists_every_method_of_the_context() -> None:
    from dagstack_dev import PluginContext

    public = {
        name
        for name, member in vars(PluginContext).items()
        if callable(member) and not name.startswith("_")
    }
    assert set(METHODS) == public - {"owner"}
