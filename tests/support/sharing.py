"""Plugins that import code they share with others."""

from __future__ import annotations

from serving import Live
from trees import PluginTree

USER = """
{imports}
class Plugin:
    def value(self):
        return {value}
"""


def user(tree: PluginTree, name: str, imports: str, value: str, **options: object) -> None:
    """A plugin whose `value()` is the expression `value` after `imports`."""
    tree.plugin(name, code=USER.format(imports=imports, value=value), **options)  # type: ignore[arg-type]


def generations(live: Live) -> dict[str, int]:
    """The number of each plugin's generation, by name."""
    return {each.name: status.generation for each, status in live.server.statuses().items()}
