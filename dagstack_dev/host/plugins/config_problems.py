"""What does not fit in a section of the configuration, in words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from dagstack_dev.core.refs import did_you_mean
from dagstack_dev.core.secrets import is_secret_key, masked_text

if TYPE_CHECKING:
    from collections.abc import Iterable

_LONGEST_QUOTE: Final = 100

Keys = tuple[str | int, ...]


def problem_of(error: Any, schema: object) -> tuple[Keys, str]:
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


def pydantic_words(detail: Any) -> str:
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
