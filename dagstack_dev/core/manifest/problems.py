"""What is wrong with a manifest, in words, each problem at its line."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final, get_args

from pydantic import BaseModel

from dagstack_dev.core.errors.files import ManifestProblem
from dagstack_dev.core.manifest.fields import FIELD_HELP, PluginManifest, contradictions
from dagstack_dev.core.refs import IDENTIFIER_RULE, did_you_mean
from dagstack_dev.core.secrets import MASK, SECRET_TABLES, is_secret_key, masked, masked_text

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from pydantic import ValidationError

MOST_PROBLEMS: Final = 50
"""How many problems of one manifest are listed one by one."""

LONGEST_QUOTE: Final = 500
"""Characters of a manifest that a message quotes at most."""

_TABLES: Final[dict[str, type[BaseModel]]] = {
    name: kind
    for name, field in PluginManifest.model_fields.items()
    for kind in (field.annotation, *get_args(field.annotation))
    if isinstance(kind, type) and issubclass(kind, BaseModel)
}
"""The fields that are tables, and what each may hold."""

REFUSED: Final = {
    "chain_wrap": "no core wraps hooks yet; a plugin of the chain with a priority of 1000 or "
    "more is its middleware",
    "timeout_seconds": "write startup_timeout_sec or teardown_timeout_sec, or timeout_sec in "
    "[plugin.mcp_stdio] or [plugin.mcp_http]",
    "retry": "whether a call may be made again is for its caller to know",
    "circuit_breaker": "whether calls go on is for their caller to know",
    "dagstack_version": "write core_version",
}
"""Fields that some texts of the contract name and that would have no effect, with what to do."""

_ADVISED: Final = {"missing", "extra_forbidden"}
"""Problems, as pydantic calls them, of which we say what to write."""

_TOML_ENTRY: Final = re.compile(r"\b(\w+) = (?=[\"\[])")
_TOML_TABLE: Final = re.compile(r"\[plugin\.(\w+)\]")


def problems_of(
    error: ValidationError,
    fields: Mapping[str, object],
    line_of: Callable[[Sequence[str]], int | None],
    *,
    in_toml: bool = True,
) -> tuple[ManifestProblem, ...]:
    """Return all that is wrong with `fields`, by line; beyond `MOST_PROBLEMS` only the number.

    Args:
        error: what pydantic has found.
        fields: the manifest as it was written.
        line_of: answers in which line the field at some keys stands, or without keys the
            manifest itself.
        in_toml: whether what to write is to be spelt as in TOML, or as in JSON and Python.
    """
    problems: dict[str, ManifestProblem] = {}
    left_out: set[str] = set()
    spelt = str if in_toml else _as_in_a_dict

    def note(keys: Sequence[str], message: str, *, missing: bool) -> None:
        field = ".".join(keys)
        if field in problems:
            return
        if len(problems) >= MOST_PROBLEMS:
            left_out.add(field)
            return
        line = line_of(() if missing else keys)
        problems[field] = ManifestProblem(_shortened(field), message, line)

    for detail in error.errors(include_url=False):
        keys = [part for part in detail["loc"] if isinstance(part, str)]
        if keys:  # Without a key it is about contradictions, which are listed below one by one.
            keys = keys[: _known_depth(keys)]
            message = _in_words(detail, keys) if len(problems) < MOST_PROBLEMS else ""
            message = spelt(message) if detail["type"] in _ADVISED else message
            note(keys, message, missing=detail["type"] == "missing")
    for key, message in contradictions(fields).items():
        keys = key.split(".")
        note(keys, spelt(message), missing=keys[0] not in fields)
    ordered = sorted(problems.values(), key=lambda problem: problem.line or 0)
    if left_out:
        ordered.append(ManifestProblem("", f"and {len(left_out)} more problems"))
    return tuple(ordered)


def _known_depth(keys: list[str]) -> int:
    """Return how many leading parts of a pydantic location are keys of the file.

    The rest names the branches of a union, which no reader of the file knows.
    """
    if keys[:2] == ["mcp_stdio", "env"]:
        return 3
    return 2 if keys and keys[0] in {*_TABLES, "env", "auth"} else 1


def _in_words(detail: Any, keys: list[str]) -> str:
    kind, value = detail["type"], _shortened(_shown(detail["input"], keys))
    if kind == "missing":
        return FIELD_HELP.get(keys[-1], "missing")
    if kind == "extra_forbidden":
        if keys[-1] in REFUSED and len(keys) == 1:
            return f"is not supported; {REFUSED[keys[-1]]}"
        known = (_TABLES[keys[0]] if len(keys) > 1 else PluginManifest).model_fields
        return f"unknown key{did_you_mean(_shortened(keys[-1]), known)}"
    if kind == "value_error":
        return _shortened(masked_text(str(detail["ctx"]["error"])))
    if kind == "string_pattern_mismatch":
        return f"{value} {IDENTIFIER_RULE}"
    if kind == "enum":
        words = detail["ctx"]["expected"]
        return f"{value} is none of {words}"
    return f"{detail['msg'].removeprefix('Input ')}, not {value}"


def _shown(value: object, keys: Sequence[str]) -> str:
    """Return what a message says of a value: nothing of what stands in secret tables."""
    is_secret = not SECRET_TABLES.isdisjoint(keys) or any(map(is_secret_key, keys))
    return MASK if is_secret else masked_text(repr(masked(value)))


def _as_in_a_dict(advice: str) -> str:
    """Return what to write, spelt as an entry of a dict in Python or an object in JSON."""
    return _TOML_TABLE.sub(r'"\1"', _TOML_ENTRY.sub(r'"\1": ', advice))


def _shortened(text: str) -> str:
    """`text`, cut where it gets too long to read."""
    return text if len(text) <= LONGEST_QUOTE else f"{text[:LONGEST_QUOTE]}..."
