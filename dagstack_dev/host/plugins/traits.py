"""The traits of an input, such as its language, and those that a manifest names: `supports_*`."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from dagstack_dev.core.manifest.fields import PluginManifest

_FIELDS: Final = {
    "language": "supports_languages",
    "extension": "supports_extensions",
    "mime_type": "supports_mime_types",
}
"""The traits that an input may have, and the field of the manifest that each is compared with."""

_PATHS: Final = ("path", "file_path", "filename")
"""Where an input without an extension may have a path."""


def traits_of(
    args: Sequence[Any], kwargs: Mapping[str, Any], wanted: Iterable[str]
) -> dict[str, tuple[str, ...]]:
    """Return the traits of an input, by which plugins may declare what they take.

    `language`, `extension` and `mime_type` are looked for among the keyword arguments, then in
    the first argument: as keys of a mapping, as attributes of anything else. An extension is also
    that of a `path`, `file_path` or `filename`, or of the first argument if it is a path object.

    Args:
        args: the input.
        kwargs: the input by name.
        wanted: which of the three to look for.

    Returns:
        For each that there is, the spellings that a manifest may have for it.
    """
    first = args[0] if args else None
    inside = first.get if isinstance(first, Mapping) else _attributes(first)
    traits = {}
    for name in wanted:
        value = kwargs.get(name) or inside(name)
        if name == "extension" and not isinstance(value, str):
            path = first if isinstance(first, os.PathLike) else None
            value = _suffix([*map(kwargs.get, _PATHS), path, *map(inside, _PATHS)])
        if value and isinstance(value, str):
            traits[name] = _spellings(name, value)
    return traits


def _attributes(value: object) -> Callable[[str], Any]:
    return lambda name: getattr(value, name, None)


def _suffix(paths: Iterable[object]) -> str:
    """Return the extension of the first path there is."""
    for path in paths:
        if isinstance(path, str | os.PathLike):
            return PurePath(os.fsdecode(path)).suffix
    return ""


def _spellings(name: str, value: str) -> tuple[str, ...]:
    plain = _normal(name, value)
    if name != "mime_type":
        return (plain,)
    return (plain, f"{plain.partition('/')[0]}/*", "*/*")


def _normal(name: str, value: str) -> str:
    """Return one spelling for all that differ by case, a leading dot, MIME parameters."""
    value = value.strip().casefold()
    if name == "extension":
        return value.removeprefix(".")
    return value.partition(";")[0].rstrip() if name == "mime_type" else value


def declared_traits(manifest: PluginManifest) -> dict[str, set[str]]:
    """Return the traits that a manifest names, each with the values that the plugin takes.

    Args:
        manifest: its `supports_*`; what it leaves empty is not in the result.
    """
    named = {name: getattr(manifest, field) for name, field in _FIELDS.items()}
    return {
        name: {_normal(name, each) for each in values} for name, values in named.items() if values
    }
