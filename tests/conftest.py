"""Fixtures for every test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog
from trees import PluginTree


@pytest.fixture
def tree(tmp_path: Path) -> PluginTree:
    """An empty folder to write plugins into."""
    return PluginTree(tmp_path / "plugins")


@pytest.fixture(autouse=True)
def captured_events() -> Iterator[list[structlog.typing.EventDict]]:
    """Every structlog event of the test, instead of its printing."""
    structlog.reset_defaults()
    with structlog.testing.capture_logs() as events:
        yield events
    structlog.reset_defaults()
