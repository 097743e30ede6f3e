"""The file in which a project keeps options: read and held against the options there are."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

import click

from dagstack_dev.core.documents import Document, DocumentInvalid, read_document
from dagstack_dev.core.errors.base import place_of
from dagstack_dev.core.refs import did_you_mean

_TOML_TYPES: Final[Mapping[type, tuple[type, ...]]] = {
    type(click.BOOL): (bool,),
    type(click.INT): (int,),
    click.IntRange: (int,),
    type(click.FLOAT): (int, float),
    click.FloatRange: (int, float),
}
"""What a value is in TOML for a parameter of that type; for any other, a string."""


class SettingsFile(NamedTuple):
    """A file that holds settings, and where they are in it.

    Attributes:
        path: of the file.
        document: what it holds.
        table: the keys of the table with the settings.
        settings: what that table holds.
    """

    path: Path
    document: Document
    table: tuple[str, ...]
    settings: Mapping[str, Any]

    @property
    def shown(self) -> str:
        """The path as seen from the current folder."""
        return os.path.relpath(self.path)

    def place(self, key: str) -> str:
        """Return where a setting stands, as the beginning of a message about it."""
        return f"{place_of(self.shown, self.document.line_of((*self.table, key)))}: {key}: "

    def values(self, known: Mapping[str, click.Parameter]) -> dict[str, Any]:
        """Return what it sets, as defaults for click.

        Args:
            known: all settings that there are, by their keys.

        Raises:
            click.UsageError: it sets what is no setting, or a setting to what it cannot be.
        """
        values, problems = {}, []
        for key, value in self.settings.items():
            try:
                values[key] = _checked(key, value, known, self.path.parent)
            except click.UsageError as error:
                problems.append(f"{self.place(key)}{error.message}")
        if problems:
            raise click.UsageError("\n".join(problems))
        return values


def read_settings(path: Path, data: bytes, table: tuple[str, ...]) -> SettingsFile | None:
    """Read a settings file; None when it has no such table.

    Args:
        path: of the file.
        data: what it holds.
        table: the keys of the table with the settings; empty for the file as a whole.

    Raises:
        click.UsageError: it is not TOML.
    """
    try:
        document = read_document(data)
    except DocumentInvalid as error:
        place = place_of(os.path.relpath(path), error.line)
        raise click.UsageError(f"{place}: {error.reason}") from error
    settings = document.values
    for key in table:
        settings = settings.get(key)
        if not isinstance(settings, dict):
            return None
    return SettingsFile(path, document, table, settings)


def _checked(
    key: str, value: Any, known: Mapping[str, click.Parameter], folder: Path
) -> list[Any] | Any:
    """Return `value`, if it is one that the flag would accept; a path as seen from here."""
    if key not in known:
        raise click.BadParameter(f"no such setting{did_you_mean(key, known)}")
    parameter = known[key]
    kind: click.ParamType[Any] = parameter.type
    types = _TOML_TYPES.get(type(kind), (str,))
    is_list = parameter.nargs != 1 or getattr(parameter, "multiple", False)
    checked: list[Any] = []
    for item in value if is_list and isinstance(value, list) else [value]:
        if type(item) not in types:
            name = "string" if str in types else kind.name
            raise click.BadParameter(f"{item!r} is not a valid {name}.")
        if isinstance(kind, click.Path):
            path = Path(item).expanduser()
            checked.append(path if folder == Path.cwd() else folder / path)
        else:
            checked.append(item)
    usable = checked if is_list else checked[0]
    parameter.process_value(click.get_current_context(), usable)
    return usable
