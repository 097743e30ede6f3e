"""Plugins' sections of the configuration, held against what the plugins ask for.

A schema stands in the manifest, as JSON Schema, or is the attribute `config_schema` of the
plugin's class: JSON Schema likewise, or a pydantic model (contract, sections 4 and 10). The
manifest's can be asked before anything live is touched, that of the class before its setup.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from datetime import date, time
from typing import TYPE_CHECKING, Any, Final, Protocol

from dagstack_dev.core.documents import DocumentInvalid, read_document
from dagstack_dev.core.errors.base import in_words
from dagstack_dev.core.errors.files import ManifestInvalid, ManifestProblem
from dagstack_dev.core.manifest.parsing import line_in_manifest
from dagstack_dev.core.refs import did_you_mean
from dagstack_dev.core.secrets import is_secret_key, masked_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from dagstack_dev.core.manifest.fields import PluginManifest
    from dagstack_dev.core.refs import PluginRef
    from dagstack_dev.core.sources import PluginSource

_ATTRIBUTE: Final = "config_schema"

_LONGEST_QUOTE: Final = 100

Keys = tuple[str | int, ...]
"""Where a value stands in a section."""


class SectionSchema(Protocol):
    """What a section can be held against."""

    def filled(self, section: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the section with defaults filled in. Raises `SectionMisfit`."""


class SectionMisfit(Exception):
    """What is wrong with a section: pairs of the keys below it, and words."""

    def __init__(self, problems: Sequence[tuple[Keys, str]]) -> None:
        super().__init__(problems)
        self.problems = problems


@dataclass(frozen=True, slots=True)
class JsonSchema:
    """A compiled JSON Schema; its `default`s fill in what a section leaves out."""

    schema: Mapping[str, Any]
    validator: Any

    def filled(self, section: Mapping[str, Any]) -> Mapping[str, Any]:
        """See `SectionSchema`. TOML's dates and times are held against the schema as text."""
        try:
            values = _with_defaults(self.schema, dict(section))
            errors = self.validator.iter_errors(_as_json(values))
            problems = [_problem_of(each, self.schema) for each in errors]
        except Exception as error:  # A value from code that JSON does not know.
            raise SectionMisfit([((), f"cannot be checked: {in_words(error)}")]) from error
        if problems:
            raise SectionMisfit(sorted(problems, key=lambda each: tuple(map(str, each[0]))))
        return values


@dataclass(frozen=True, slots=True)
class ModelSchema:
    """A pydantic model; the section becomes what the model makes of it, as plain values."""

    model: Any

    def filled(self, section: Mapping[str, Any]) -> Mapping[str, Any]:
        """See `SectionSchema`. Keys that the model lets pass and does not keep are kept."""
        from pydantic import ValidationError  # noqa: PLC0415 - only where a plugin uses it

        try:
            values = self.model.model_validate(dict(section)).model_dump(by_alias=True)
        except ValidationError as error:
            raise SectionMisfit(
                [(each["loc"], _pydantic_words(each)) for each in error.errors(include_url=False)]
            ) from None
        except Exception as error:
            name = self.model.__name__
            raise SectionMisfit([((), f"{name} cannot be applied: {in_words(error)}")]) from error
        return {**section, **values}


def manifest_schema(manifest: PluginManifest, source: PluginSource | None) -> SectionSchema | None:
    """Return the compiled `config_schema` of a manifest, None where there is none.

    Raises:
        ManifestInvalid: it is no valid JSON Schema, or the file that it names holds none.
    """
    declared = manifest.config_schema
    if declared is None:
        return None
    schema = _from_file(manifest, source, declared) if isinstance(declared, str) else declared
    try:
        return _compiled(schema)
    except _BadSchema as error:
        raise _invalid(manifest, source, str(error), error.keys) from error


def _from_file(manifest: PluginManifest, source: PluginSource | None, name: str) -> dict[str, Any]:
    files = {} if source is None else source.files
    file = files.get(name.removeprefix("./"))
    if file is None:
        where = "the plugin's folder" if source is None else source.folder
        hint = did_you_mean(name, [each for each in files if each.endswith(".json")])
        raise _invalid(manifest, source, f"{name!r} is no file in {where}{hint}")
    if file.content is None:
        reason = file.error or "a schema is a file *.json of 64 KiB at most"
        raise _invalid(manifest, source, f"{name!r} cannot be read: {reason}")
    try:
        schema = read_document(file.content, is_json=True).values
    except DocumentInvalid as error:
        place = f", line {error.line}," if error.line else ""
        raise _invalid(manifest, source, f"{name!r}{place} {error.reason}") from error
    if not isinstance(schema, dict):
        raise _invalid(manifest, source, f"{name!r} must hold an object, a JSON Schema")
    return schema


def _invalid(
    manifest: PluginManifest, source: PluginSource | None, message: str, keys: Keys = ()
) -> ManifestInvalid:
    path, line = "<manifest>", None
    if source is not None:
        path = source.manifest_path
        written = source.manifest.content if source.manifest else None
        where = [str(key) for key in (_ATTRIBUTE, *keys)]
        fields = (".".join(where[:depth]) for depth in range(len(where), 0, -1))
        lines = (line_in_manifest(written or b"", path, field) for field in fields)
        line = next(filter(None, lines), None)
    problem = ManifestProblem(dotted((_ATTRIBUTE, *keys)), message, line)
    return ManifestInvalid(path, [problem], ref=manifest.ref)


class _BadSchema(Exception):
    def __init__(self, message: str, keys: Keys) -> None:
        super().__init__(message)
        self.keys = keys


def _compiled(schema: dict[str, Any]) -> JsonSchema:
    import jsonschema_rs  # noqa: PLC0415 - only for those who declare a schema

    try:
        # Nothing is fetched from anywhere, and no pattern takes more than linear time or so.
        return JsonSchema(schema, jsonschema_rs.validator_for(schema, offline=True))
    except jsonschema_rs.ValidationError as error:
        message = f"is no valid JSON Schema: {quoted(error.message)}"
        raise _BadSchema(message, tuple(error.instance_path)) from error
    except ValueError as error:  # A key or a value from code that JSON does not know.
        raise _BadSchema(f"is no valid JSON Schema: {quoted(str(error))}", ()) from error


def class_schema(cls: type, ref: PluginRef) -> SectionSchema | None:
    """Return the attribute `config_schema` of a plugin's class, ready for use; None for none.

    Raises:
        ManifestInvalid: it is neither a pydantic model nor a valid JSON Schema.
    """
    declared = getattr(cls, _ATTRIBUTE, None)
    if declared is None:
        return None
    where = f"{cls.__module__}.{cls.__qualname__}"
    if isinstance(declared, type) and hasattr(declared, "model_validate"):
        return ModelSchema(declared)
    if not isinstance(declared, dict):
        message = f"must be a pydantic model or a JSON Schema, not {quoted(repr(declared))}"
        raise ManifestInvalid(where, [ManifestProblem(_ATTRIBUTE, message)], ref=ref)
    try:
        return _compiled(declared)
    except _BadSchema as error:
        field = dotted((_ATTRIBUTE, *error.keys))
        raise ManifestInvalid(where, [ManifestProblem(field, str(error))], ref=ref) from error


def _as_json(value: object) -> object:
    match value:
        case Mapping():
            return {key: _as_json(each) for key, each in value.items()}
        case list() | tuple():
            return [_as_json(each) for each in value]
        case date() | time():  # A `datetime` is a `date`.
            return value.isoformat()
        case _:
            return value


def _with_defaults(schema: object, values: dict[str, Any]) -> dict[str, Any]:
    """Return `values` with the defaults of `properties`, also of those inside of others."""
    properties = schema.get("properties") if isinstance(schema, dict) else None
    for key, inner in properties.items() if isinstance(properties, dict) else ():
        if not isinstance(inner, dict):
            continue
        if key not in values and "default" in inner:
            values[key] = deepcopy(inner["default"])
        if isinstance(values.get(key), dict):
            values[key] = _with_defaults(inner, dict(values[key]))
    return values


# What does not fit, in words


def _problem_of(error: Any, schema: object) -> tuple[Keys, str]:
    """Return the keys and the words of an error of jsonschema_rs against `schema`."""
    keys, kind, found = tuple(error.instance_path), error.kind, error.instance
    match kind.name:
        case "required":
            return (*keys, kind.property), "missing; add it"
        case "additionalProperties":
            several = len(kind.unexpected) > 1
            known = () if several else _properties(schema, error.schema_path[:-1])
            hint = did_you_mean(kind.unexpected[0], known)
            return (*keys, kind.unexpected[0]), f"{error.message}{hint}"
        case "type":
            shown = "" if _is_secret(keys, found) else f", not {quoted(repr(found))}"
            return keys, f"must be of type {' or '.join(kind.types)}{shown}"
        case _ if _is_secret(keys, found):
            return keys, f"does not fit the schema's {kind.name!r}"
        case _:
            return keys, quoted(error.message)


def _properties(schema: Any, place: Iterable[str | int]) -> Iterable[str]:
    """Return the keys that the schema at `place` knows; none where a `$ref` leads there."""
    try:
        for key in place:
            schema = schema[key]
        return [*schema["properties"]]
    except (LookupError, TypeError):
        return ()


def _pydantic_words(detail: Any) -> str:
    """Return the words of an error of pydantic."""
    if detail["type"] == "missing":
        return "missing; add it"
    if detail["type"] == "extra_forbidden":
        return "unknown key"
    message = detail["msg"].removeprefix("Input ").removeprefix("Value error, ")
    if _is_secret(detail["loc"], detail["input"]):
        return str(message)
    return f"{message}, not {quoted(repr(detail['input']))}"


def _is_secret(keys: Iterable[str | int], value: object) -> bool:
    """Return whether the value at `keys` is one to be kept to oneself, or holds such a one."""
    inner = value.items() if isinstance(value, dict) else ()
    return any(is_secret_key(str(key)) for key in keys) or any(
        _is_secret([key], each) for key, each in inner
    )


def dotted(keys: Iterable[str | int]) -> str:
    """Return keys as a person writes them: `tool.calc.tags[1]`."""
    text = ""
    for key in keys:
        text += f"[{key}]" if isinstance(key, int) else f".{key}" if text else key
    return text


def quoted(text: str) -> str:
    """Return `text` without secrets, and cut where it is long."""
    text = masked_text(text)
    return text if len(text) <= _LONGEST_QUOTE else f"{text[:_LONGEST_QUOTE]}..."
