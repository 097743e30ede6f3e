"""What a plugin's folder says of the calls that its hooks are tried with: `tests/contract.toml`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from dagstack_dev.core.documents import DocumentInvalid, read_document
from dagstack_dev.core.refs import did_you_mean
from dagstack_dev.disk.paths import read_regular

if TYPE_CHECKING:
    from dagstack_dev.core.sources import PluginSource

SAMPLES_FILE: Final = "tests/contract.toml"
"""Relative to the plugin's folder: a table per hook, with `arguments` and perhaps `expected`."""

_KEYS: Final = ("arguments", "expected")


class SamplesInvalid(ValueError):
    """The file cannot be used; the message says why."""


def read_samples(source: PluginSource) -> dict[str, dict[str, Any]]:
    """Read the file in a plugin's folder; the answer is a table by hook, none without a file.

    Raises:
        SamplesInvalid: the file cannot be read, is no TOML, or of another shape.
    """
    if SAMPLES_FILE not in source.files:
        return {}
    path = f"{source.folder}/{SAMPLES_FILE}"
    try:
        tables: dict[str, dict[str, Any]] = read_document(read_regular(path)).values
        for hook, table in tables.items():
            _check(hook, table)
    except (OSError, DocumentInvalid, SamplesInvalid) as error:
        raise SamplesInvalid(f"{path}: {error}") from error
    return tables


def _check(hook: str, table: object) -> None:
    if not isinstance(table, dict):
        raise SamplesInvalid(f"{hook}: write [{hook}] with a table `arguments` in it")
    for key in table.keys() - set(_KEYS):
        raise SamplesInvalid(f"[{hook}]: unknown key {key!r}{did_you_mean(key, _KEYS)}")
    if not isinstance(table.get("arguments", {}), dict):
        raise SamplesInvalid(f"[{hook}]: arguments must be a table, by name")
