"""The arguments of a method as JSON Schema, so that a form can be made of them."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from pydantic import TypeAdapter
from pydantic_core import to_jsonable_python

from dagstack_dev.api.arguments import hints_of
from dagstack_dev.core.ports import PARAMETERS
from dagstack_dev.core.secrets import is_secret_key, masked

if TYPE_CHECKING:
    from collections.abc import Callable

_BY_NAME: Final = frozenset({"properties", "patternProperties", "$defs", "definitions"})
"""Keywords of JSON Schema that hold schemas by names of the plugin."""

_VALUES: Final = frozenset({"default", "examples", "const", "enum"})
"""Keywords that hold values: in them a secret has its name as in any other data."""


def parameters_of(function: Callable[..., Any]) -> dict[str, Any] | None:
    """Return the JSON Schema of the arguments; None where they cannot be passed by name.

    An argument may be anything if it has no annotation, or one that JSON Schema cannot express.
    """
    schema = getattr(function, PARAMETERS, None) or _schema_of(function)
    return None if schema is None else shown_schema(schema)


def shown_schema(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return a JSON Schema without secrets, of plain values: others may keep a plugin alive."""
    found: dict[str, Any] = to_jsonable_python(_without_secrets(to_jsonable_python(schema)))
    return found


def _schema_of(function: Callable[..., Any]) -> dict[str, Any] | None:
    try:
        parameters = inspect.signature(function).parameters.values()
    except Exception:  # noqa: BLE001 - there is none, or an annotation raises
        return None
    named = [each for each in parameters if each.kind is not each.VAR_POSITIONAL]
    if any(each.kind is each.POSITIONAL_ONLY for each in named):
        return None
    hints = hints_of(function)
    adapters = {each.name: _adapter(hints.get(each.name)) for each in named}
    found, shared = TypeAdapter.json_schemas(
        (name, "validation", adapter) for name, adapter in adapters.items() if adapter
    )
    schema: dict[str, Any] = {"type": "object", "properties": {}, "required": []}
    schema["additionalProperties"] = False
    for each in named:
        own = found.get((each.name, "validation"), {})
        if each.kind is each.VAR_KEYWORD:
            schema["additionalProperties"] = own or True
        else:
            schema["properties"][each.name] = own | _default_of(each)
            if each.default is each.empty:
                schema["required"].append(each.name)
    return schema | shared


def _adapter(hint: Any) -> TypeAdapter[Any] | None:
    """Return what reads values of a type, if the type has a JSON Schema."""
    if hint is None:
        return None
    try:
        adapter = TypeAdapter(hint)
        to_jsonable_python(adapter.json_schema())
    except Exception:  # noqa: BLE001 - it may be a class of the plugin, with code of its own
        return None
    return adapter


def _default_of(parameter: inspect.Parameter) -> dict[str, Any]:
    if parameter.default is parameter.empty:
        return {}
    try:
        return {"default": to_jsonable_python(parameter.default, inf_nan_mode="strings")}
    except Exception:  # noqa: BLE001 - it may be of a class of the plugin
        return {}


def _without_secrets(schema: Any, name: str = "") -> Any:
    """Return a schema without what is secret by its name, `name`, or by itself."""
    if isinstance(schema, list | tuple):
        return [_without_secrets(each) for each in schema]
    if not isinstance(schema, Mapping):
        return masked(schema)
    left_out = {"default", "examples"} if is_secret_key(name) else ()
    found = {}
    for key, each in schema.items():
        if key in _BY_NAME and isinstance(each, Mapping):
            found[key] = {str(one): _without_secrets(part, str(one)) for one, part in each.items()}
        elif key not in left_out:
            is_value = key in _VALUES
            found[str(key)] = masked(_paired(each)) if is_value else _without_secrets(each)
    return found


def _paired(value: Any) -> Any:
    """Return a value of JSON with lists of two as tuples: each may be of a key and its value."""
    if isinstance(value, Mapping):
        return {key: _paired(each) for key, each in value.items()}
    if not isinstance(value, list):
        return value
    return (tuple if len(value) == 2 else list)(map(_paired, value))  # noqa: PLR2004 - a pair
