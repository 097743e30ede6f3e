"""The symbols that `:name:` stands for, read from the asset next to this module."""

from __future__ import annotations

import tomllib
from importlib.resources import files

SHORTCODES: dict[str, str] = tomllib.loads(
    files(__package__).joinpath("shortcodes.toml").read_text("utf-8")
)
