"""What a server offers, as values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Self

from dagstack_dev.runtimes.mcp.schemas import Schema, compiled


@dataclass(frozen=True)
class Tool:
    """One tool of a server.

    Attributes:
        name: as the server knows it.
        description: for people and models; empty where the server gives none.
        input_schema: JSON Schema of its arguments, an object.
        output_schema: JSON Schema of its structured result, or None.
        title: a name to be shown, or None.
        annotations: hints such as `readOnlyHint`, as the protocol spells them.
    """

    name: str
    description: str
    input_schema: Mapping[str, Any]
    output_schema: Mapping[str, Any] | None = None
    title: str | None = None
    annotations: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def takes(self) -> Schema | None:
        """The input schema, compiled; None where it allows everything, as for the output."""
        return compiled(self.input_schema)

    @cached_property
    def returns(self) -> Schema | None:
        """The output schema, compiled."""
        return compiled(self.output_schema)

    @classmethod
    def of(cls, said: object) -> Self:
        """A tool as the protocol spells it; what is odd and need not be there is left out.

        Raises:
            ValueError: its name or its input schema is not there; as for the others.
        """
        given = _named(said, "name")
        if not isinstance(given.get("inputSchema"), Mapping):
            reason = f"{given['name']}: its inputSchema is no object"
            raise ValueError(reason)  # noqa: TRY004 - it is a server's value, as below
        output, annotations = given.get("outputSchema"), given.get("annotations")
        return cls(
            name=given["name"],
            description=_text(given, "description") or "",
            input_schema=given["inputSchema"],
            output_schema=output if isinstance(output, Mapping) else None,
            title=_text(given, "title"),
            annotations=annotations if isinstance(annotations, Mapping) else {},
        )


@dataclass(frozen=True, slots=True)
class Resource:
    """Something that can be read; a template where `uri` holds `{names}`."""

    uri: str
    name: str
    description: str = ""
    mime_type: str | None = None

    @classmethod
    def of(cls, said: object) -> Self:
        """A resource or a template as the protocol spells it."""
        key = "uriTemplate" if isinstance(said, Mapping) and "uriTemplate" in said else "uri"
        given = _named(said, key)
        return cls(
            uri=given[key],
            name=_text(given, "name") or given[key],
            description=_text(given, "description") or "",
            mime_type=_text(given, "mimeType"),
        )


@dataclass(frozen=True, slots=True)
class Prompt:
    """A prompt that can be filled in; `arguments` tells for each whether it is required."""

    name: str
    description: str = ""
    arguments: Mapping[str, bool] = field(default_factory=dict)

    @classmethod
    def of(cls, said: object) -> Self:
        """A prompt as the protocol spells it."""
        given = _named(said, "name")
        listed = given.get("arguments")
        arguments = [_named(each, "name") for each in (listed if isinstance(listed, list) else ())]
        return cls(
            name=given["name"],
            description=_text(given, "description") or "",
            arguments={each["name"]: each.get("required") is True for each in arguments},
        )


def _named(said: object, key: str) -> Mapping[str, Any]:
    """`said`, which must be an object with a text under `key`."""
    if not isinstance(said, Mapping):
        raise ValueError(f"{str(said)[:40]} is no object")  # noqa: TRY004
    if not _text(said, key):
        name = _text(said, "name") or "one without a name"
        raise ValueError(f"{name}: its {key} is no text")
    return said


def _text(said: Mapping[str, Any], key: str) -> str | None:
    """The text under `key`, if it is one."""
    found = said.get(key)
    return found if isinstance(found, str) else None
