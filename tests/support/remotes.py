"""Plugins that are remote services, with one that depends on them."""

from __future__ import annotations

from pathlib import Path

from serving import Live
from trees import PluginTree

from dagstack_dev.core.events import Transition
from dagstack_dev.core.lifecycle import State

USER = """
class Plugin:
    def setup(self, ctx):
        self.remote = ctx.registry.get_plugin("data", "remote")

    async def count(self):
        return await self.remote.count()
"""

QUICK = {"retry_seconds": 0.02, "retry_limit_seconds": 0.1}
"""Settings with which a server that is back is found at once."""


def remote(tree: PluginTree, more: str) -> Path:
    """Write the plugin `data/remote`, and `demo/user`, which depends on it; the manifest's path."""
    manifest = tree.root / "remote" / "dagstack.toml"
    tree.write(
        manifest,
        f"""\
        [plugin]
        name = "remote"
        kind = "data"
        core_version = ">=0.1,<1"
        runtime = "mcp_http"
        {more}
        """,
    )
    tree.plugin("user", code=USER, depends_on=["remote"])
    return manifest


async def reached(live: Live, name: str, state: State) -> None:
    """Wait until a plugin has come into a state."""
    await live.fact(Transition, lambda each: each.ref.name == name and each.to_state is state)
