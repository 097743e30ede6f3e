"""What a plugin's folder says of the calls that its hooks are tried with: `tests/contract.toml`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from dagstack_dev.core.documents import DocumentInvalid, parse_toml
from dagstack_dev.core.refs import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Mapping

SAMPLES_FILE: Final = "tests/contract.toml"
"""Relative to the plugin's folder: a table per hook, with `arguments` and perhaps `expected`."""

_KEYS: Final = ("arguments", "expected")


class SamplesInvalid(ValueError):
    """The file cannot be used; the message says why."""


@dataclass(frozen=True, slots=True)
class Samples:
    """One call per hook, and what some of them are to answer."""

    arguments: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    expected: Mapping[str, Any] = field(default_factory=dict)


def parse_samples(text: str) -> Samples:
    """The calls that `text` describes.

    Raises:
        SamplesInvalid: it is no TOML, or of another shape.
    """
    try:
        tables = parse_toml(text)
    except DocumentInvalid as error:
        raise SamplesInvalid(str(error)) from error
    for hook, table in tables.items():
        if not isinstance(table, dict):
            raise SamplesInvalid(f"{hook}: write [{hook}] with a table `arguments` in it")
        for key in table.keys() - set(_KEYS):
            raise SamplesInvalid(f"[{hook}]: unknown key {key!r}{did_you_mean(key, _KEYS)}")
        if not isinstance(table.get("arguments", {}), dict):
            raise SamplesInvalid(f"[{hook}]: arguments must be a table, by name")
    return Samples(
        {hook: table.get("arguments", {}) for hook, table in tables.items()},
        {hook: table["expected"] for hook, table in tables.items() if "expected" in table},
    )
