"""Node and what the playground's JavaScript plugins import, for tests that run such plugins."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

NODE_MODULES = Path(__file__).parents[2] / "playground/mixed/node_modules"
"""The installed packages; to be linked above a copy of a plugin."""


def _lack() -> str:
    if shutil.which("node") is None:
        return "no Node found"
    if not (NODE_MODULES / ".made-from").exists():
        return "the Node packages are not installed; scripts/test does that"
    return ""


needs_node = pytest.mark.skipif(bool(_lack()), reason=_lack() or "Node is there")
"""Skips a test where JavaScript plugins cannot run, and says why."""
