"""The manifest: the validated, immutable content of a plugin's `dagstack.toml`.

Field names, defaults and rules are the contract's (section 2). Values are never coerced:
`priority = "5"` is an error, as the contract's manifest schema says.
"""

from __future__ import annotations

import re
from enum import StrEnum
from functools import lru_cache
from typing import TYPE_CHECKING, Annotated, Any, Final

import tomli
from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.version import Version
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    field_validator,
    model_validator,
)

from dagstack_dev.core.errors import ManifestInvalid, ManifestProblem
from dagstack_dev.core.refs import PluginRef, did_you_mean
from dagstack_dev.core.toml_lines import line_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

MANIFEST_NAME: Final = "dagstack.toml"

MOST_PROBLEMS: Final = 50
"""How many problems of one manifest are told one by one."""

LONGEST_QUOTE: Final = 500
"""Characters of a manifest that a message quotes at most."""

_IDENTIFIER: Final = r"^[A-Za-z0-9][A-Za-z0-9_.-]*$"
_ENTRY_POINT: Final = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*")

_FIELD_HELP: Final = {
    "name": 'missing; add name = "..." (lower-case letters, digits, - and _)',
    "kind": 'missing; add kind = "..."',
    "core_version": 'missing; add core_version = ">=0.1,<1"',
    "runtime": 'missing; add runtime = "in_process"',
    "entry_point": 'missing; add entry_point = "plugin:ClassName"',
}


class ExecutionModel(StrEnum):
    """How the host is to run a plugin's methods (ADR-3)."""

    ASYNC = "async"
    SYNC = "sync"
    THREAD_CPU_BOUND = "thread_cpu_bound"
    PROCESS_CPU_BOUND = "process_cpu_bound"


class IdempotencyMode(StrEnum):
    """What makes two units of work the same one (ADR-3)."""

    OUTPUT_HASH = "output_hash"
    INPUT_HASH = "input_hash"
    NONE = "none"


def _one_or_many(value: object) -> object:
    return (value,) if isinstance(value, str) else value


Identifier = Annotated[str, StringConstraints(pattern=_IDENTIFIER)]
Names = Annotated[tuple[str, ...], Field(strict=False)]
Seconds = Annotated[int, Field(gt=0)]


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, use_enum_values=False)


class ResourceNames(_Table):
    """`[plugin.resources]`: the host resources that a plugin wants injected."""

    required: Names = ()
    optional: Names = ()


class UnitOfWork(_Table):
    """`[plugin.unit_of_work]` (ADR-3)."""

    declared: bool = False
    checkpointable: bool = False
    partition_key: str | None = None
    estimated_duration_sec: Seconds | None = None
    idempotency_mode: Annotated[IdempotencyMode, Field(strict=False)] = IdempotencyMode.NONE
    content_hash: str | None = None


class PluginManifest(_Table):
    """What a plugin says of itself; immutable, and equal when all fields are equal.

    `depends_on` keeps what was written: a bare name stays a string, a `{kind, name}` table
    becomes a `PluginRef`. `runtime` is always a tuple, in order of preference.
    """

    name: Identifier
    kind: Identifier
    core_version: str
    runtime: Annotated[tuple[str, ...], Field(strict=False, min_length=1)]
    entry_point: str | None = None
    schema_version: str = "1"
    kind_api_version: str = "1"
    priority: Annotated[int, Field(ge=0)] = 0
    depends_on: Annotated[tuple[str | PluginRef, ...], Field(strict=False)] = ()
    tryfirst: bool = False
    trylast: bool = False
    startup_timeout_sec: Seconds = 30
    teardown_timeout_sec: Seconds = 15
    capabilities: Names = ()
    supports_languages: Names = ()
    supports_extensions: Names = ()
    supports_mime_types: Names = ()
    fallback: bool = False
    execution_model: Annotated[ExecutionModel, Field(strict=False)] = ExecutionModel.SYNC
    in_process_only: bool = False
    resources: ResourceNames = ResourceNames()
    unit_of_work: UnitOfWork = UnitOfWork()
    config_schema: dict[str, Any] | str | None = None
    license: str | None = None
    maintainer: str | None = None
    homepage: str | None = None
    health_check: str | None = None
    version: str | None = None
    description: str | None = None
    authors: Names = ()
    command: Annotated[Names, BeforeValidator(_one_or_many)] = ()
    env: dict[str, str] = Field(default_factory=dict)
    endpoint: str | None = None
    url: str | None = None
    auth: dict[str, str] = Field(default_factory=dict)
    mcp_stdio: dict[str, Any] | None = None
    mcp_http: dict[str, Any] | None = None

    @property
    def ref(self) -> PluginRef:
        """Kind and name."""
        return PluginRef(self.kind, self.name)

    @property
    def entry_module(self) -> str:
        """The module half of `entry_point`, relative to the plugin's folder, dotted."""
        return (self.entry_point or "").partition(":")[0]

    @property
    def entry_class(self) -> str:
        """The class half of `entry_point`."""
        return (self.entry_point or "").partition(":")[2]

    @field_validator("schema_version")
    @classmethod
    def _known_schema(cls, value: str) -> str:
        if value != "1":
            msg = f'schema_version {value!r} is not supported; write "1"'
            raise ValueError(msg)
        return value

    @field_validator("core_version")
    @classmethod
    def _valid_specifier(cls, value: str) -> str:
        if _specifier(value) is None:
            msg = f'{value!r} is not a PEP 440 specifier; write for example ">=0.1,<1"'
            raise ValueError(msg)
        return value

    @field_validator("runtime", mode="before")
    @classmethod
    def _runtime_list(cls, value: object) -> object:
        return _one_or_many(value)

    @field_validator("depends_on", mode="before")
    @classmethod
    def _dependency_list(cls, value: object) -> object:
        if not isinstance(value, list | tuple):
            msg = "must be an array of plugin names"
            raise ValueError(msg)  # noqa: TRY004 - pydantic collects ValueError only
        return tuple(_dependency(item) for item in value)

    @field_validator("entry_point")
    @classmethod
    def _entry_point_form(cls, value: str | None) -> str | None:
        if value is not None and _ENTRY_POINT.fullmatch(value) is None:
            msg = (
                f'{value!r} must read "module:Class", where module is a file inside the '
                "plugin's folder"
            )
            raise ValueError(msg)
        return value

    @model_validator(mode="after")
    def _consistent(self) -> PluginManifest:
        if contradictions := _contradictions(vars(self)):
            raise ValueError("; ".join(f"{key}: {text}" for key, text in contradictions.items()))
        return self

    def accepts_core(self, core_version: str) -> bool:
        """Whether `core_version` satisfies the specifier; pre-releases count as versions."""
        return _accepts(self.core_version, core_version)


def _contradictions(fields: Mapping[str, object]) -> dict[str, str]:
    """What is wrong between the fields, by the field to mend; each may still be invalid."""
    found: dict[str, str] = {}
    if fields.get("tryfirst") is True and fields.get("trylast") is True:
        found["trylast"] = "tryfirst and trylast exclude each other; keep one"
    runtime = fields.get("runtime")
    declared = runtime if isinstance(runtime, list | tuple) else (runtime,)
    if "in_process" in declared and fields.get("entry_point") is None:
        found["entry_point"] = _FIELD_HELP["entry_point"]
    return found


def _dependency(item: object) -> str | PluginRef:
    if isinstance(item, str):
        return item
    if isinstance(item, PluginRef):
        return item
    if (
        isinstance(item, dict)
        and set(item) == {"kind", "name"}
        and all(isinstance(value, str) for value in item.values())
    ):
        return PluginRef(item["kind"], item["name"])
    msg = f'each entry must be a plugin name or {{ kind = "...", name = "..." }}, not {item!r}'
    raise ValueError(msg)


@lru_cache(maxsize=1024)
def _specifier(text: str) -> SpecifierSet | None:
    try:
        return SpecifierSet(text)
    except InvalidSpecifier:
        return None


@lru_cache(maxsize=1024)
def _accepts(specifier_text: str, core_version: str) -> bool:
    specifier = _specifier(specifier_text)
    return specifier is not None and specifier.contains(Version(core_version), prereleases=True)


def parse_manifest(data: bytes, path: str) -> PluginManifest:
    """Parse and validate the bytes of a `dagstack.toml`.

    Args:
        data: the file's content.
        path: where it was read, for messages.

    Raises:
        ManifestInvalid: with every problem at once, each with its line (specification, "Ошибки
            реестра"). Its `ref` is set when kind and name could be read all the same.
    """
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        problem = ManifestProblem("", f"is not UTF-8 text (byte {error.start})", line)
        raise ManifestInvalid(path, [problem]) from error
    if not text.strip():
        raise ManifestInvalid(path, [ManifestProblem("", "is empty; a manifest was expected")])
    try:
        document = tomli.loads(text)
    except tomli.TOMLDecodeError as error:
        problem = ManifestProblem("", f"is not valid TOML: {error.msg}", error.lineno)
        raise ManifestInvalid(path, [problem]) from error
    except (RecursionError, ValueError) as error:  # Nested too deeply; a number too long.
        problem = ManifestProblem("", f"cannot be parsed: {error}")
        raise ManifestInvalid(path, [problem]) from error
    table, prefix = _plugin_table(document)
    if not isinstance(table, dict):
        problem = ManifestProblem("plugin", "must be a table", line_of(text, ["plugin"]))
        raise ManifestInvalid(path, [problem])
    fields = {key: value for key, value in table.items() if key != "metadata"}
    try:
        return PluginManifest.model_validate(fields)
    except ValidationError as error:
        raise ManifestInvalid(
            path, _problems(error, fields, text, prefix), ref=_salvaged_ref(fields)
        ) from None


def manifest_from(values: PluginManifest | dict[str, Any]) -> PluginManifest:
    """`values` as a manifest, for plugins that are registered by hand.

    Raises:
        ManifestInvalid: with every problem at once.
    """
    if isinstance(values, PluginManifest):
        return values
    try:
        return PluginManifest.model_validate(values)
    except ValidationError as error:
        problems = _problems(error, values, "", ())
        raise ManifestInvalid("<manifest>", problems, ref=_salvaged_ref(values)) from None


def _plugin_table(document: dict[str, Any]) -> tuple[object, tuple[str, ...]]:
    if "plugin" in document:
        return document["plugin"], ("plugin",)
    return document, ()


def _salvaged_ref(fields: dict[str, Any]) -> PluginRef | None:
    kind, name = fields.get("kind"), fields.get("name")
    if (
        isinstance(kind, str)
        and isinstance(name, str)
        and re.fullmatch(_IDENTIFIER, kind)
        and re.fullmatch(_IDENTIFIER, name)
    ):
        return PluginRef(kind, name)
    return None


def _problems(
    error: ValidationError, fields: Mapping[str, object], text: str, prefix: tuple[str, ...]
) -> tuple[ManifestProblem, ...]:
    problems: dict[str, ManifestProblem] = {}
    left_out: set[str] = set()

    def note(keys: Sequence[str], message: str, *, missing: bool) -> None:
        field = ".".join(keys)
        if field in problems:
            return
        if len(problems) >= MOST_PROBLEMS:
            left_out.add(field)
            return
        where = prefix if missing else (*prefix, *keys)
        line = line_of(text, where) if where else 1
        problems[field] = ManifestProblem(_shortened(field), message, line if text else None)

    for detail in error.errors(include_url=False):
        keys = [part for part in detail["loc"] if isinstance(part, str)]
        if keys:  # Without a key it is about contradictions, which are listed below one by one.
            keys = keys[: _known_depth(keys)]
            message = _in_words(detail, keys) if len(problems) < MOST_PROBLEMS else ""
            note(keys, message, missing=detail["type"] == "missing")
    for key, message in _contradictions(fields).items():
        note([key], message, missing=key not in fields)
    ordered = sorted(problems.values(), key=lambda problem: problem.line or 0)
    if left_out:
        ordered.append(ManifestProblem("", f"and {len(left_out)} more problems"))
    return tuple(ordered)


def _known_depth(keys: list[str]) -> int:
    """How many leading parts of a pydantic location are keys of the file.

    The rest names the branches of a union, which no reader of the file knows.
    """
    if keys and keys[0] in {"resources", "unit_of_work", "env", "auth"}:
        return 2
    return 1


def _in_words(detail: Any, keys: list[str]) -> str:
    kind, value = detail["type"], _shortened(repr(detail["input"]))
    if kind == "missing":
        return _FIELD_HELP.get(keys[-1], "missing")
    if kind == "extra_forbidden":
        tables: dict[str, type[BaseModel]] = {
            "resources": ResourceNames,
            "unit_of_work": UnitOfWork,
        }
        known = (tables[keys[0]] if len(keys) > 1 else PluginManifest).model_fields
        return f"unknown key{did_you_mean(_shortened(keys[-1]), known)}"
    if kind == "value_error":
        return _shortened(str(detail["ctx"]["error"]))
    if kind == "string_pattern_mismatch":
        return f"{value} may hold letters, digits, '-', '_' and '.' only, a letter or digit first"
    if kind == "enum":
        words = detail["ctx"]["expected"]
        return f"{value} is none of {words}"
    return f"{detail['msg'].removeprefix('Input ')}, not {value}"


def _shortened(text: str) -> str:
    """`text`, less the end of what nobody would read to its end."""
    return text if len(text) <= LONGEST_QUOTE else f"{text[:LONGEST_QUOTE]}..."
