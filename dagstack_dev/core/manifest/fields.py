"""What a manifest holds: its fields, and the rules that each of them follows.

Field names, defaults and rules are the contract's (section 2). Values are never coerced:
`priority = "5"` is an error, as the contract's manifest schema says.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any, Final

from pydantic import (
    AfterValidator,
    Field,
    PlainSerializer,
    StringConstraints,
    ValidationInfo,
    field_validator,
    model_validator,
)

from dagstack_dev.core.core_version import accepts, specifier_problem
from dagstack_dev.core.manifest.frozen import FrozenMapping, thawed
from dagstack_dev.core.manifest.mcp import (
    Auth,
    Command,
    Environment,
    HttpUrl,
    McpHttp,
    McpStdio,
    Table,
    mcp_contradictions,
    startup_timeout,
)
from dagstack_dev.core.manifest_forms import pattern_problem
from dagstack_dev.core.refs import IDENTIFIER, PluginRef

_ENTRY_POINT: Final = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*")

FIELD_HELP: Final = {
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


_NO_METADATA: Final = FrozenMapping({})  # One for all: pydantic would copy a default.

_NULLABLE: Final = frozenset({"command", "env", "auth"})
"""Fields that may be null, where a form of the manifest knows that, in place of being left out."""

_OTHER_SPELLINGS: Final = frozenset({"mcp_stdio", "supports", *_NULLABLE})

Identifier = Annotated[str, StringConstraints(pattern=IDENTIFIER)]
Names = Annotated[tuple[str, ...], Field(strict=False)]
Seconds = Annotated[int, Field(gt=0)]
Dependencies = Annotated[
    tuple[str | PluginRef, ...],
    Field(strict=False),
    PlainSerializer(lambda wants: tuple(map(_as_written, wants))),
]
Metadata = Annotated[Mapping[str, Any], AfterValidator(FrozenMapping), PlainSerializer(thawed)]


class ResourcesSpec(Table):
    """`[plugin.resources]`: the host resources that a plugin wants injected."""

    required: Names = ()
    optional: Names = ()


class Supports(Table):
    """`[plugin.supports]`: another spelling of the fields `supports_*`."""

    languages: Names = ()
    extensions: Names = ()
    mime_types: Names = ()


class UnitOfWorkSpec(Table):
    """`[plugin.unit_of_work]` (ADR-3)."""

    declared: bool = False
    checkpointable: bool = False
    partition_key: str | None = None
    estimated_duration_sec: Seconds | None = None
    idempotency_mode: Annotated[IdempotencyMode, Field(strict=False)] = IdempotencyMode.NONE
    content_hash: str | None = None


class PluginManifest(Table):
    """What a plugin says of itself; immutable, and equal when all fields are equal.

    `depends_on` keeps what was written: a bare name stays a string, a `{kind, name}` table
    becomes a `PluginRef`. `runtime` is always a tuple, in order of preference. `metadata` is the
    author's own: nothing here reads it, and it is read-only.
    """

    name: Identifier
    kind: Identifier
    core_version: str
    runtime: Annotated[tuple[str, ...], Field(strict=False, min_length=1)]
    entry_point: str | None = None
    schema_version: str = "1"
    kind_api_version: str = "1"
    priority: Annotated[int, Field(ge=0)] = 0
    depends_on: Dependencies = ()
    tryfirst: bool = False
    trylast: bool = False
    startup_timeout_sec: Seconds = 30
    teardown_timeout_sec: Seconds = 15
    capabilities: Names = ()
    supports_languages: Names = ()
    supports_extensions: Names = ()
    supports_mime_types: Names = ()
    supports: Supports | None = None
    fallback: bool = False
    execution_model: Annotated[ExecutionModel, Field(strict=False)] = ExecutionModel.SYNC
    in_process_only: bool = False
    resources: ResourcesSpec = ResourcesSpec()
    unit_of_work: UnitOfWorkSpec = UnitOfWorkSpec()
    config_schema: dict[str, Any] | str | None = None
    license: str | None = None
    maintainer: str | None = None
    homepage: str | None = None
    health_check: str | None = None
    version: str | None = None
    description: str | None = None
    authors: Names = ()
    ignore: Names = ()
    command: Command = ()
    env: Environment = Field(default_factory=dict)
    endpoint: HttpUrl | None = None
    url: HttpUrl | None = None
    auth: Auth = Field(default_factory=dict)
    mcp_stdio: McpStdio | None = None
    mcp_http: McpHttp | None = None
    metadata: Metadata = Field(default_factory=lambda: _NO_METADATA)

    @property
    def ref(self) -> PluginRef:
        """Kind and name."""
        return PluginRef(self.kind, self.name)

    @property
    def possible_runtimes(self) -> tuple[str, ...]:
        """What of `runtime` the host may choose from, in order of preference."""
        return ("in_process",) if self.in_process_only else self.runtime

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
        if problem := specifier_problem(value):
            raise ValueError(problem)
        return value

    @field_validator("ignore")
    @classmethod
    def _patterns(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if problems := list(filter(None, map(pattern_problem, value))):
            raise ValueError("; ".join(problems))
        return value

    @field_validator("runtime", mode="before")
    @classmethod
    def _runtime_list(cls, value: object) -> object:
        return (value,) if isinstance(value, str) else value

    @field_validator("depends_on", mode="before")
    @classmethod
    def _dependency_list(cls, value: object) -> object:
        if not isinstance(value, list | tuple):
            example = f": [{json.dumps(value)}]" if isinstance(value, str) else ""
            msg = f"must be an array of plugin names{example}"
            raise ValueError(msg)  # noqa: TRY004 - pydantic collects ValueError only
        return tuple(_dependency(item) for item in value)

    @field_validator("entry_point")
    @classmethod
    def _entry_point_form(cls, value: str | None, info: ValidationInfo) -> str | None:
        if "mcp_stdio" in (runtime := info.data.get("runtime", ())) and "in_process" not in runtime:
            return value  # It is the command, where that is not given.
        if value is not None and _ENTRY_POINT.fullmatch(value) is None:
            msg = (
                f'{value!r} must read "module:Class", where module is a file inside the '
                "plugin's folder"
            )
            raise ValueError(msg)
        return value

    @model_validator(mode="before")
    @classmethod
    def _other_spellings(cls, fields: object) -> object:
        if not isinstance(fields, dict) or _OTHER_SPELLINGS.isdisjoint(fields):
            return fields
        given = {
            key: value for key, value in fields.items() if value is not None or key not in _NULLABLE
        }
        spelt = {f"supports_{key}": names for key, names in _supported(given).items()}
        return {**startup_timeout(given), **spelt, **given}

    @model_validator(mode="after")
    def _consistent(self) -> PluginManifest:
        if found := contradictions(vars(self)):
            raise ValueError("; ".join(f"{key}: {text}" for key, text in found.items()))
        return self

    def accepts_core(self, core_version: str) -> bool:
        """Return whether `core_version` satisfies the specifier; pre-releases count as versions."""
        return accepts(self.core_version, core_version)


def contradictions(fields: Mapping[str, object]) -> dict[str, str]:
    """Return what is wrong between fields, by the one to correct; each may still be invalid."""
    found: dict[str, str] = {}
    if fields.get("tryfirst") is True and fields.get("trylast") is True:
        found["trylast"] = "tryfirst and trylast exclude each other; keep one"
    runtime = fields.get("runtime")
    declared = runtime if isinstance(runtime, list | tuple) else (runtime,)
    if "in_process" in declared and fields.get("entry_point") is None:
        found["entry_point"] = FIELD_HELP["entry_point"]
    if fields.get("in_process_only") is True and runtime and "in_process" not in declared:
        found["in_process_only"] = (
            'contradicts runtime, which leaves out "in_process"; add it there or remove this'
        )
    if fields.get("in_process_only") is True and (
        fields.get("execution_model") == ExecutionModel.PROCESS_CPU_BOUND
    ):
        found["execution_model"] = (
            "contradicts in_process_only, which keeps the plugin in the app's process; remove one"
        )
    for key, names in _supported(fields).items():
        if fields.get(f"supports_{key}") not in (None, (), [], names, tuple(names)):
            found[f"supports.{key}"] = f"differs from supports_{key}; keep one of them"
    return found | mcp_contradictions(fields)


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


def _as_written(dependency: str | PluginRef) -> str | dict[str, str]:
    """Return what `_dependency` takes for it."""
    return dependency._asdict() if isinstance(dependency, PluginRef) else dependency


def _supported(fields: Mapping[str, object]) -> dict[str, list[str]]:
    """Return the names in `[plugin.supports]`, by field of it; only where they are proper ones."""
    table = fields.get("supports")
    if table is None:
        return {}
    if isinstance(table, Supports):
        table = table.model_dump(exclude_unset=True)
    if not isinstance(table, Mapping):
        return {}
    return {
        key: list(names)
        for key in Supports.model_fields
        if isinstance(names := table.get(key), list | tuple)
        and all(isinstance(name, str) for name in names)
    }
