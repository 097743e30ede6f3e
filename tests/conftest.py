"""Fixtures for every test."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog
from trees import PluginTree


@pytest.fixture
def tree(tmp_path: Path) -> PluginTree:
    """An empty folder to write plugins into."""
    return PluginTree(tmp_path / "plugins")


@pytest.fixture
def imports_forgotten(tmp_path: Path) -> Iterator[None]:
    """No module of this test is found by the next, nor anything that it adds to `sys.path`."""
    path = list(sys.path)
    yield
    sys.path[:] = path
    for name, module in sys.modules.copy().items():
        if (getattr(module, "__file__", None) or "").startswith(str(tmp_path)):
            sys.modules.pop(name, None)


@pytest.fixture(autouse=True)
def captured_events() -> Iterator[list[structlog.typing.EventDict]]:
    """Every structlog event of the test, instead of its printing."""
    structlog.reset_defaults()
    with structlog.testing.capture_logs() as events:
        yield events
    structlog.reset_defaults()
