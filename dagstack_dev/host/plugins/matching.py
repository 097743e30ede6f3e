"""Which plugins say that they take an input: `supports_*` of the manifest, and `matches`."""

from __future__ import annotations

import os
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

if TYPE_CHECKING:
    from dagstack_dev.core.manifest.fields import PluginManifest

T = TypeVar("T", bound=Hashable)

_FIELDS: Final = {
    "language": "supports_languages",
    "extension": "supports_extensions",
    "mime_type": "supports_mime_types",
}
"""What an input may tell of itself, and the field of the manifest that it is held against."""

_PATHS: Final = ("path", "file_path", "filename")
"""Where an input that tells no extension may have one."""


def traits_of(
    args: Sequence[Any], kwargs: Mapping[str, Any], wanted: Iterable[str] = tuple(_FIELDS)
) -> dict[str, tuple[str, ...]]:
    """Return what an input tells of itself, as plugins may declare it.

    `language`, `extension` and `mime_type` are looked for among the keyword arguments, then in
    the first argument: as keys of a mapping, as attributes of anything else. An extension is also
    that of a `path`, `file_path` or `filename`, or of the first argument if it is a path object.

    Args:
        args: the input.
        kwargs: the input by name.
        wanted: which of the three are looked for.

    Returns:
        For each that is told, the spellings that a manifest may have for it.
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


class Matchers(Generic[T]):
    """The plugins that have one hook, by what they say they take.

    A plugin with a method `matches` is asked (contract, section 8), unless its manifest already
    rules out what the input tells of itself. Without such a method, the manifest has to name it.
    A plugin that says neither takes nothing, but may be the kind's fallback.

    Attributes:
        told: what an input may have to tell of itself for that.
    """

    def __init__(self) -> None:
        self.told: set[str] = set()
        self._naming: dict[tuple[str, str], dict[T, None]] = {}
        self._asked: dict[frozenset[str], dict[T, None]] = {}
        self._fallbacks: dict[T, None] = {}
        self._places: dict[T, list[dict[T, None]]] = {}

    def add(self, member: T, manifest: PluginManifest, *, is_asked: bool) -> None:
        """Take in a plugin."""
        named = {name: getattr(manifest, field) for name, field in _FIELDS.items()}
        told = frozenset(name for name, values in named.items() if values)
        self.told |= told
        keys = {(name, _normal(name, each)) for name, values in named.items() for each in values}
        places = [self._naming.setdefault(key, {}) for key in keys]
        if is_asked:
            places.append(self._asked.setdefault(told, {}))
        if manifest.fallback:
            places.append(self._fallbacks)
        for each in places:
            each[member] = None
        self._places[member] = places

    def remove(self, member: T) -> None:
        """Let go of a plugin, if it is there."""
        for each in self._places.pop(member, ()):
            del each[member]

    def candidates(self, traits: Mapping[str, tuple[str, ...]]) -> tuple[set[T], list[T]]:
        """Return the plugins that may take an input of these traits, and the fallbacks.

        Whether the former do, those that have `matches` are still to be asked.
        """
        found: set[T] = set()
        for name, values in traits.items():
            for value in values:
                found.update(self._naming.get((name, value), ()))
        for told, members in self._asked.items():
            if told.isdisjoint(traits):
                found.update(members)
        return found, [*self._fallbacks]
