"""A configuration that knows its lines, and what of it was evidently meant for a plugin."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from dagstack_dev.core.documents import Document
from dagstack_dev.core.refs import PluginRef, closest
from dagstack_dev.core.secrets import masked

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_BARE_KEY: Final = re.compile(r"[A-Za-z0-9_-]+")


class ConfigDocument(dict[str, Any]):
    """The content of a TOML file.

    Args:
        values: its tables.
        path: the file.
        text: its text, valid TOML.
    """

    def __init__(self, values: Mapping[str, Any], *, path: str, text: str) -> None:
        super().__init__(values)
        self.path = path
        self._document = Document(values, text)

    def __repr__(self) -> str:
        return repr(masked(dict(self)))

    def line_of(self, keys: Sequence[str]) -> int | None:
        """Return the line of what stands at `keys`; where nothing does, of what is around it."""
        for length in range(len(keys), 0, -1):
            line = self._document.line_of(keys[:length])
            if line is not None:
                return line
        return None


def misspelt_sections(
    config: ConfigDocument, refs: Iterable[PluginRef]
) -> Mapping[PluginRef, PluginRef]:
    """Return the tables of `config` that resemble the section a plugin lacks, each with the plugin.

    A table that resembles nothing may be the app's.

    Args:
        config: the configuration.
        refs: the plugins that there are.
    """
    tables = sections(config)
    known = set(refs) if tables else set()
    lacking = sorted(known.difference(tables))
    meant = {table: _meant(table, lacking) for table in tables if lacking and table not in known}
    return {table: plugin for table, plugin in meant.items() if plugin is not None}


def sections(config: Mapping[str, Any]) -> Sequence[PluginRef]:
    """Return the tables of `config` that can be sections of plugins."""
    return [
        PluginRef(kind, name)
        for kind, tables in config.items()
        if isinstance(tables, Mapping)
        for name, section in tables.items()
        if isinstance(section, Mapping)
    ]


def belongs_to_none(table: PluginRef, meant: PluginRef | None, line: int | None = None) -> str:
    """Say that `table` reaches no plugin, and which was `meant`."""
    place = "" if line is None else f" in line {line}"
    hint = "" if meant is None else f"; did you mean {header(meant)}?"
    return f"{header(table)}{place} belongs to no plugin{hint}"


def _meant(table: PluginRef, lacking: Iterable[PluginRef]) -> PluginRef | None:
    """Return the plugin of that kind with a close name, or of that name and a close kind."""
    name = closest(table.name, [ref.name for ref in lacking if ref.kind == table.kind])
    if name is not None:
        return PluginRef(table.kind, name)
    kind = closest(table.kind, [ref.kind for ref in lacking if ref.name == table.name])
    return PluginRef(kind, table.name) if kind is not None else None


def header(table: PluginRef) -> str:
    """Return the header of a plugin's table, as TOML spells it."""
    keys = (key if _BARE_KEY.fullmatch(key) else f'"{key}"' for key in table)
    return f"[{'.'.join(keys)}]"
