"""Starts `dagstack-dev watch` for tests of faults, and proves that it still does its work."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from command_runs import Watching
from trees import PluginTree

Watch = Callable[..., Watching]


@pytest.fixture
def watch(tmp_path: Path) -> Iterator[Watch]:
    """Start a process in the test's folder; the arguments are those of `Watching`."""
    started: list[Watching] = []

    def start(*arguments: str | Path, **options: Any) -> Watching:
        started.append(Watching(*arguments, cwd=tmp_path, **options))
        return started[-1]

    yield start
    for each in started:
        each.kill()


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
