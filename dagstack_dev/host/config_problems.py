"""What does not fit in a section of the configuration, in words."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from dagstack_dev.core.refs import closest

if TYPE_CHECKING:
    from collections.abc import Iterable

_LONGEST_QUOTE: Final = 100

_SECRET: Final = re.compile(r"(?i)passw|secret|token$|credential|(api|access|private).?key")
"""Keys whose values are shown in no error."""

Keys = tuple[str | int, ...]


def problem_of(error: Any) -> tuple[Keys, str]:
    """The keys and the words of an error of jsonschema."""
    keys = tuple(error.absolute_path)
    match error.validator:
        case "required":  # One error for each key, which nothing but its text tells.
            absent = (key for key in error.validator_value if key not in error.instance)
            missing = next((key for key in absent if error.message.startswith(repr(key))), None)
            return (*keys, *([] if missing is None else [missing])), "missing; add it"
        case "additionalProperties" if isinstance(error.instance, dict):
            known = error.schema.get("properties", {})
            unknown = [key for key in error.instance if key not in known]
            guess = closest(unknown[0], known) if len(unknown) == 1 else None
            hint = f"; did you mean {guess!r}?" if guess else ""
            return (*keys, *unknown[:1]), f"{error.message}{hint}"
        case "type":
            wanted = error.validator_value
            words = wanted if isinstance(wanted, str) else " or ".join(wanted)
            found = (
                "" if _is_secret(keys, error.instance) else f", not {quoted(repr(error.instance))}"
            )
            return keys, f"must be of type {words}{found}"
        case _ if _is_secret(keys, error.instance):
            return keys, f"does not fit the schema's {error.validator!r}"
        case _:
            return keys, quoted(error.message)


def pydantic_words(detail: Any) -> str:
    """The words of an error of pydantic."""
    if detail["type"] == "missing":
        return "missing; add it"
    if detail["type"] == "extra_forbidden":
        return "unknown key"
    message = detail["msg"].removeprefix("Input ").removeprefix("Value error, ")
    if _is_secret(detail["loc"], detail["input"]):
        return str(message)
    return f"{message}, not {quoted(repr(detail['input']))}"


def _is_secret(keys: Iterable[str | int], value: object) -> bool:
    """Whether the value at `keys` is one to be kept to oneself, or holds such a one."""
    inner = value.items() if isinstance(value, dict) else ()
    return any(_SECRET.search(str(key)) for key in keys) or any(
        _is_secret([key], each) for key, each in inner
    )


def dotted(keys: Iterable[str | int]) -> str:
    """Keys as a person writes them: `tool.calc.tags[1]`."""
    text = ""
    for key in keys:
        text += f"[{key}]" if isinstance(key, int) else f".{key}" if text else key
    return text


def quoted(text: str) -> str:
    """`text`, less what nobody would read to its end."""
    return text if len(text) <= _LONGEST_QUOTE else f"{text[:_LONGEST_QUOTE]}..."
