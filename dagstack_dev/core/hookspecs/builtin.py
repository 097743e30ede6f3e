"""The kinds that every core knows: `tool` and `orchestrator` (contract, section 14).

An app opts in to them as to its own, with `registry.add_hookspecs(TOOL_KIND)`; before that
dispatchers look up in them how hooks are called, and they keep no plugin out.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import Any, Final

from dagstack_dev.core.errors.registry import HookspecMissing
from dagstack_dev.core.hookspecs.kinds import NO_KINDS, DispatchClass, HookSpec, Kinds, KindSpec

UNIT_STATES: Final = ("queued", "running", "succeeded", "failed", "cancelled", "expired")
"""What a unit of work can be, as `orchestrator.status` returns it."""


def _object(required: dict[str, Any], **optional: Any) -> MappingProxyType[str, Any]:
    """Return the schema of an object with these properties and no others."""
    return MappingProxyType(
        {
            "type": "object",
            "properties": {**required, **optional},
            "required": list(required),
            "additionalProperties": False,
        }
    )


_TEXT: Final = {"type": "string"}
_FLAG: Final = {"type": "boolean"}
_COUNT: Final = {"type": "integer", "minimum": 0}
_TABLE: Final = {"type": "object"}
_STATE: Final = {"type": "string", "enum": list(UNIT_STATES)}

TOOL_KIND: Final = KindSpec(
    kind="tool",
    kind_api_version="1.0.0",
    description="Functions that can be called by name, with arguments that follow a schema.",
    hooks=(
        HookSpec(
            name="get_schema",
            dispatch=DispatchClass.BROADCAST_COLLECT,
            description="The functions of a plugin, each with the JSON schema of its arguments.",
            output_schema=MappingProxyType(
                {
                    "type": "array",
                    "items": dict(
                        _object({"name": _TEXT, "description": _TEXT, "parameters": _TABLE})
                    ),
                }
            ),
        ),
        HookSpec(
            name="execute",
            dispatch=DispatchClass.SINGLETON,
            description="Call one function of one plugin.",
            input_schema=_object({"function": _TEXT, "args": _TABLE}),
            output_schema=_object({"result": {}}, is_error=_FLAG, error_message=_TEXT),
            mcp_exposed=True,
            mcp_tool_name_template="{kind}.{plugin}.{hook}.{function}",
        ),
    ),
)

ORCHESTRATOR_KIND: Final = KindSpec(
    kind="orchestrator",
    kind_api_version="1.0.0",
    description="Runs units of work; one of it per runtime, always in the host's process.",
    hooks=(
        HookSpec(
            name="enqueue",
            dispatch=DispatchClass.SINGLETON,
            description="Have a plugin work on something; the answer names the unit of work.",
            input_schema=_object(
                {"plugin_name": _TEXT, "args": _TABLE}, idempotency_key=_TEXT, partition_key=_TEXT
            ),
            output_schema=_object({"unit_id": _TEXT, "deduplicated": _FLAG}),
        ),
        HookSpec(
            name="status",
            dispatch=DispatchClass.SINGLETON,
            description="How a unit of work is doing.",
            input_schema=_object({"unit_id": _TEXT}),
            output_schema=_object(
                {"unit_id": _TEXT, "state": _STATE},
                started_at=_TEXT,
                finished_at=_TEXT,
                progress=_TABLE,
                error=_TEXT,
            ),
        ),
        HookSpec(
            name="backfill",
            dispatch=DispatchClass.SINGLETON,
            description="Enqueue units again that did not succeed.",
            input_schema=_object(
                {},
                plugin_name=_TEXT,
                partition_key=_TEXT,
                since=_TEXT,
                until=_TEXT,
                states={"type": "array", "items": _STATE},
            ),
            output_schema=_object({"enqueued_count": _COUNT}, skipped_count=_COUNT),
        ),
    ),
)

BUILTIN_KINDS: Final = MappingProxyType(
    {spec.kind: spec for spec in (TOOL_KIND, ORCHESTRATOR_KIND)}
)


def find_spec(kind: str, kinds: Kinds = NO_KINDS) -> KindSpec:
    """Return the spec of a kind: of `kinds`, else a built-in one.

    Raises:
        HookspecMissing: there is none; a `KindUnknown`.
    """
    spec = kinds.specs.get(kind) or BUILTIN_KINDS.get(kind)
    if spec is None:
        raise HookspecMissing(kind, declared=sorted({*kinds.specs, *BUILTIN_KINDS}))
    return spec


def dispatch_class_for(
    kind: str, hook_name: str, *, api_major: int = 1, kinds: Kinds = NO_KINDS
) -> DispatchClass:
    """Return how a hook is to be called (contract, section 8).

    Args:
        kind: built in, or one of `kinds`.
        hook_name: the hook.
        api_major: the major version of the kind.
        kinds: what an app has declared, as `registry.kinds`.

    Returns:
        A `DispatchClass`, which is equal to its name.

    Raises:
        HookspecMissing: no such kind, not in that version, or no such hook; a `KindUnknown`.
    """
    spec = find_spec(kind, kinds)
    if spec.api_major != api_major:
        raise HookspecMissing(f"{kind} {api_major}", declared=[f"{kind} {spec.api_major}"])
    return spec.hook(hook_name).dispatch
