"""`dagstack-dev test` runs this, and calls the plugin with the samples in contract.toml."""

from __future__ import annotations

from ..server import greet


def test_it_greets() -> None:
    assert greet("Ada") == "Hello, Ada!"
