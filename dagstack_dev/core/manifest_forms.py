"""The files that can hold a manifest, and where in each of them it stands (contract, section 2).

`dagstack.toml` is the rule. Where a folder holds several forms the first of `FORMS` is in force:
TOML, then JSON, then what is embedded in the file of another tool.
"""

from __future__ import annotations

import re
from codecs import BOM_UTF8
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from dagstack_dev.core.documents import Document, DocumentInvalid, read_document
from dagstack_dev.core.errors.files import ManifestInvalid

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True, slots=True)
class ManifestForm:
    """One kind of file that can hold a manifest.

    Attributes:
        file_name: of the file, in the plugin's folder.
        tables: where the fields may stand, the first that is there; `()` is the top level.
        is_embedded: whether the file is another tool's, and a manifest only with such a table.
    """

    file_name: str
    tables: tuple[tuple[str, ...], ...]
    is_embedded: bool = False

    @property
    def is_json(self) -> bool:
        """Whether it is written in JSON, else in TOML."""
        return self.file_name.endswith(".json")


MANIFEST_NAME: Final = "dagstack.toml"

FORMS: Final = (
    ManifestForm(MANIFEST_NAME, (("plugin",), ())),
    ManifestForm("dagstack_plugin.toml", (("tool", "dagstack", "plugin"), ("plugin",), ())),
    ManifestForm("dagstack.json", (("plugin",), ())),
    ManifestForm("pyproject.toml", (("tool", "dagstack", "plugin"),), is_embedded=True),
    ManifestForm("package.json", (("dagstack",),), is_embedded=True),
)
"""Every form, that which takes precedence first."""

_BY_NAME: Final = {form.file_name: form for form in FORMS}

MANIFEST_NAMES: Final = frozenset(_BY_NAME)

EMBEDDED_NAMES: Final = frozenset(form.file_name for form in FORMS if form.is_embedded)

# How the table may begin in a file that does not parse. A dependency of that name, or a table
# around it, is not enough: what is taken for a plugin hides the plugins below it.
_JSON_TABLE: Final = re.compile(rb'"dagstack"\s*:\s*\{')
_TOML_TABLE: Final = re.compile(rb"""dagstack["']?\s*\.\s*["']?plugin\b""")

LARGEST_MANIFEST: Final = 1024 * 1024
"""Bytes of a manifest that are parsed at most."""


def form_at(path: str) -> ManifestForm:
    """Return the form of the file at `path`, by its name; any other name is read by its ending."""
    name = path.rpartition("/")[2]
    return (
        _BY_NAME.get(name) or _BY_NAME["dagstack.json" if name.endswith(".json") else MANIFEST_NAME]
    )


def manifest_among(read: Callable[[str], bytes | None]) -> str | None:
    """Return the name of the manifest in force in a folder, None where there is none.

    Args:
        read: called with a file's name; answers what it holds, None when there is no such file.
            Embedded forms are asked for last, and only where no other is there.
    """
    return next((form.file_name for form in FORMS if _counts(form, read(form.file_name))), None)


def _counts(form: ManifestForm, content: bytes | None) -> bool:
    return content is not None and (not form.is_embedded or holds_manifest(form, content))


def differing_forms(read: Callable[[str], bytes | None]) -> tuple[str, ...]:
    """Return the names of manifests that differ from the one in force.

    `read` is that of `manifest_among`.
    """
    held = [
        (form, content)
        for form in FORMS
        if (content := read(form.file_name)) is not None and _counts(form, content)
    ]
    tables = {form.file_name: _table_of(form, content) for form, content in held}
    in_force = next(iter(tables.values()), None)
    return tuple(name for name, table in tables.items() if table != in_force)


def _table_of(form: ManifestForm, content: bytes) -> object:
    try:
        found = find_table(content, form.file_name, form)
    except ManifestInvalid:
        return None
    return found and found.fields


def holds_manifest(form: ManifestForm, content: bytes) -> bool:
    """Return whether the file of another tool has the table of `form`.

    One that does not parse has it where its text names it: half an edit makes no plugin vanish.
    """
    if b"dagstack" not in content or len(content) > LARGEST_MANIFEST:
        return False
    return _has_table(form, content)


@lru_cache(maxsize=1 << 14)  # A look everywhere asks for each such plugin, in the same order.
def _has_table(form: ManifestForm, content: bytes) -> bool:
    try:
        return find_table(content, form.file_name, form) is not None
    except ManifestInvalid:
        return (_JSON_TABLE if form.is_json else _TOML_TABLE).search(content) is not None


@dataclass(frozen=True, slots=True)
class ManifestTable:
    """A manifest as it is written: what stands in its table, and in which line.

    Attributes:
        fields: what the table holds; anything else than a dict is a mistake of the author's.
        place: the keys that lead to the table.
    """

    fields: object
    place: tuple[str, ...]
    document: Document

    def line_of(self, keys: Sequence[str]) -> int | None:
        """Return the line in which the field `keys` stands; none: that of the table itself."""
        where = (*self.place, *keys)
        return self.document.line_of(where) if where else 1


def find_table(data: bytes, path: str, form: ManifestForm) -> ManifestTable | None:
    """Parse the bytes of a file; None when it has none of the tables that make it a manifest.

    Args:
        data: the bytes.
        path: the file, for messages.
        form: what it is to be read as.

    Raises:
        ManifestInvalid: it is no text, empty, or neither TOML nor JSON.
    """
    if not data.removeprefix(BOM_UTF8).strip():
        raise ManifestInvalid.of(path, "is empty; a manifest was expected")
    try:
        document = read_document(data, is_json=form.is_json)
    except DocumentInvalid as error:
        raise ManifestInvalid.of(path, error.reason, error.line) from error
    for place in form.tables:
        found, fields = _table_at(document.values, place)
        if found:
            return ManifestTable(fields, place, document)
    return None


def ignored_in(name: str, content: bytes) -> tuple[str, ...]:
    """Return what the manifest in the file `name` ignores; nothing where it cannot be read.

    A valid one has nothing but proper patterns there.
    """
    return _ignored_in(name, content) if b"ignore" in content else ()


@lru_cache(maxsize=1 << 10)
def _ignored_in(name: str, content: bytes) -> tuple[str, ...]:
    try:
        table = find_table(content, name, form_at(name))
    except ManifestInvalid:
        return ()
    fields = table.fields if table else None
    patterns = fields.get("ignore") if isinstance(fields, dict) else None
    found = patterns if isinstance(patterns, list) else ()
    return tuple(each for each in found if isinstance(each, str) and not pattern_problem(each))


def pattern_problem(pattern: str) -> str | None:
    """Return what is wrong with a pattern of `ignore`; None when nothing is."""
    shown = repr(pattern)
    if not pattern.strip("/! ") or pattern.startswith("#"):
        return f"{shown} says nothing; write a pattern as in a .gitignore, such as 'data/'"
    if ".." in pattern.split("/"):
        return f"{shown} leads out of the plugin's folder; patterns are relative to it"
    if "\n" in pattern or pattern.endswith("\\"):
        return f"{shown} is no pattern; write one as in a .gitignore, such as '*.csv'"
    return None


def _table_at(document: object, place: Sequence[str]) -> tuple[bool, object]:
    for key in place:
        if not isinstance(document, dict) or key not in document:
            return False, None
        document = document[key]
    return True, document
