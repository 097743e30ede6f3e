"""Proves that a server still does its work after a fault."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest
from command_runs import Watching
from trees import PluginTree


@pytest.fixture
def still_reloads(tree: PluginTree) -> Callable[[Watching], None]:
    """Writes the plugin `demo/calm` anew and waits until that has been reloaded and committed."""
    values = itertools.count(2)
    tree.plugin("calm")

    def prove(run: Watching) -> None:
        tree.plugin("calm", value=next(values))
        run.event("plugin.ready", plugin="demo/calm", reason="plugin.py changed")
        run.event("reload.committed")

    return prove
