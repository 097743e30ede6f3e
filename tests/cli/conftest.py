"""Starts `dagstack-dev watch` for tests, and ends what they leave running."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from command_runs import Watching

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
