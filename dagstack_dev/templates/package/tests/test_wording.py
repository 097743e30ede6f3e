"""`dagstack-dev test` runs this, and calls the plugin with the samples in contract.toml."""

from __future__ import annotations

from ..wording import greeting


def test_spaces_around_a_name_are_left_out() -> None:
    assert greeting("Hello", " Ada ") == "Hello, Ada!"
