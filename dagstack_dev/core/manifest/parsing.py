"""From the text of a manifest to its validated content, and in which line of it what stands.

Which files may hold one: `core.manifest_forms`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from dagstack_dev.core.errors.files import ManifestInvalid, ManifestProblem
from dagstack_dev.core.manifest.fields import PluginManifest
from dagstack_dev.core.manifest.problems import problems_of
from dagstack_dev.core.manifest_forms import find_table, form_at
from dagstack_dev.core.refs import IDENTIFIER, PluginRef, closest

if TYPE_CHECKING:
    from collections.abc import Callable

    from dagstack_dev.core.sources import PluginSource


def parse_manifest(data: bytes, path: str) -> PluginManifest:
    """Parse and validate the bytes of a file that holds a manifest.

    Args:
        data: the file's content.
        path: where it was read; its name decides the form, see `core.manifest_forms`.

    Raises:
        ManifestInvalid: with every problem at once, each with its line (specification, "Ошибки
            реестра"). Its `ref` is set when kind and name could be read all the same.
    """
    form = form_at(path)
    table = find_table(data, path, form)
    if table is None:
        message = f"holds no manifest; add {_spelt(form.tables[0], is_json=form.is_json)}"
        raise ManifestInvalid.of(path, message)
    fields = table.fields
    if not isinstance(fields, dict):
        noun = "an object" if form.is_json else "a table"
        problem = ManifestProblem(".".join(table.place), f"must be {noun}", table.line_of(()))
        raise ManifestInvalid(path, [problem])
    if not table.place and (name := _misspelt_table(fields)):
        meant = '"plugin"' if form.is_json else "[plugin]"
        problem = ManifestProblem(name, f"is not read; write {meant}", table.line_of([name]))
        raise ManifestInvalid(path, [problem])
    if form.is_json:  # Editors find the schema of a JSON file by it.
        fields = {key: value for key, value in fields.items() if key != "$schema"}
    return validated(fields, path, table.line_of, in_toml=not form.is_json)


def _misspelt_table(fields: Mapping[str, object]) -> str | None:
    """Return the table that must be meant to be the manifest, where the top level is none."""
    if not PluginManifest.model_fields.keys().isdisjoint(fields):
        return None
    tables = (key for key, value in fields.items() if isinstance(value, dict))
    return next((key for key in tables if closest(key.lower(), ["plugin"])), None)


def _spelt(place: Sequence[str], *, is_json: bool) -> str:
    dotted = ".".join(place)
    return f'a field "{dotted}"' if is_json else f"a table [{dotted}]"


def line_in_manifest(data: bytes, path: str, field: str) -> int | None:
    """Return the line in which a field of a manifest stands, None when nowhere.

    Args:
        data: the bytes of the file. A module holds none of the forms of a manifest.
        path: the file.
        field: dotted where it stands in a table; empty for the table of the manifest itself.
    """
    try:
        table = find_table(data, path, form_at(path))
    except ManifestInvalid:
        return None
    return None if table is None else table.line_of(field.split(".") if field else ())


def line_in(source: PluginSource, field: str, name: str = "") -> int | None:
    """Return the line of a plugin's manifest in which something stands, None when nowhere.

    Args:
        source: the plugin as it was read.
        field: dotted where it stands in a table.
        name: a part of its value, which may be in a later line.
    """
    written = source.manifest.content if source.manifest else None
    line = line_in_manifest(written or b"", source.manifest_path, field)
    if line is None or written is None or not name:
        return line
    last = name.rpartition("/")[2].encode()
    rest = written.split(b"\n")[line - 1 :]
    return line + next((at for at, text in enumerate(rest) if last in text), 0)


def place_of_dependencies(source: PluginSource | None) -> tuple[str | None, int | None]:
    """Return the manifest where `depends_on` stands or is to be written, and its line there.

    Without that field it is the line of the manifest's table. None where nothing was read.
    """
    if source is None:
        return None, None
    return source.manifest_path, line_in(source, "depends_on") or line_in(source, "")


def manifest_from(values: PluginManifest | Mapping[str, Any]) -> PluginManifest:
    """`values` as a manifest, for plugins that are registered by hand.

    Args:
        values: a manifest, or its fields.

    Raises:
        ManifestInvalid: with every problem at once.
    """
    if isinstance(values, PluginManifest):
        return values
    return load_manifest_from_dict(values, "<manifest>")


def load_manifest_from_dict(
    raw: Mapping[str, Any] | object, source: str = "<dict>"
) -> PluginManifest:
    """Validate a manifest that has been parsed already (contract, section 2).

    Args:
        raw: its fields.
        source: where they come from, for messages.

    Raises:
        ManifestInvalid: with every problem at once.
    """
    if not isinstance(raw, Mapping):
        message = f"must be a mapping of fields, not {type(raw).__name__}"
        raise ManifestInvalid.of(source, message)
    unusable = [key for key in raw if not isinstance(key, str)]
    if unusable:
        problems = [ManifestProblem("", f"the key {key!r} is no string") for key in unusable]
        raise ManifestInvalid(source, problems)
    return validated(dict(raw), source, lambda _: None)


def validated(
    fields: Mapping[str, Any],
    path: str,
    line_of: Callable[[Sequence[str]], int | None],
    *,
    in_toml: bool = False,
) -> PluginManifest:
    """`fields` as a manifest; see `problems_of` for `line_of` and `in_toml`.

    Raises:
        ManifestInvalid: with every problem at once.
    """
    try:
        try:
            return PluginManifest.model_validate(fields)
        except ValidationError as error:
            problems = problems_of(error, fields, line_of, in_toml=in_toml)
    except RecursionError:  # Raised by what copies or shows it; parsers go deeper.
        problems = (ManifestProblem("", "is nested too deeply", line_of(())),)
    raise ManifestInvalid(path, problems, ref=_salvaged_ref(fields))


def _salvaged_ref(fields: Mapping[str, Any]) -> PluginRef | None:
    kind, name = fields.get("kind"), fields.get("name")
    if (
        isinstance(kind, str)
        and isinstance(name, str)
        and re.fullmatch(IDENTIFIER, kind)
        and re.fullmatch(IDENTIFIER, name)
    ):
        return PluginRef(kind, name)
    return None
