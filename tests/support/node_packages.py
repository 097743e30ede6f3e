"""Node and the packages that JavaScript imports here, for tests that run some."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

NODE_MODULES = Path(__file__).parents[2] / "playground/mixed/node_modules"
"""The packages of the playground's plugins; to be linked above a copy of a plugin."""


def _needs(packages: Path) -> pytest.MarkDecorator:
    lack = ""
    if shutil.which("node") is None:
        lack = "no Node found"
    elif not (packages / ".made-from").exists():
        lack = "the Node packages are not installed; scripts/test does that"
    return pytest.mark.skipif(bool(lack), reason=lack or "Node is there")


needs_node = _needs(NODE_MODULES)
"""Skips a test where JavaScript plugins cannot run, and says why."""

needs_javascript_client = _needs(Path(__file__).parent / "javascript/node_modules")
"""Likewise where the MCP client in JavaScript cannot."""
