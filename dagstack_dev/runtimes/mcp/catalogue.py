"""What a server offers, as values."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
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

    @classmethod
    def of(cls, said: Mapping[str, Any]) -> Self:
        """A tool as the protocol spells it."""
        return cls(
            name=said["name"],
            description=said.get("description") or "",
            input_schema=said["inputSchema"],
            output_schema=said.get("outputSchema"),
            title=said.get("title"),
            annotations=said.get("annotations") or {},
        )


@dataclass(frozen=True, slots=True)
class Resource:
    """Something that can be read; a template where `uri` holds `{names}`."""

    uri: str
    name: str
    description: str = ""
    mime_type: str | None = None

    @classmethod
    def of(cls, said: Mapping[str, Any]) -> Self:
        """A resource or a template as the protocol spells it."""
        return cls(
            uri=said.get("uri") or said["uriTemplate"],
            name=said["name"],
            description=said.get("description") or "",
            mime_type=said.get("mimeType"),
        )


@dataclass(frozen=True, slots=True)
class Prompt:
    """A prompt that can be filled in; `arguments` tells for each whether it is required."""

    name: str
    description: str = ""
    arguments: Mapping[str, bool] = field(default_factory=dict)

    @classmethod
    def of(cls, said: Mapping[str, Any]) -> Self:
        """A prompt as the protocol spells it."""
        arguments = said.get("arguments") or ()
        return cls(
            name=said["name"],
            description=said.get("description") or "",
            arguments={each["name"]: bool(each.get("required")) for each in arguments},
        )
