"""What a server offers and answers, as values."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, Self

from dagstack_dev.core.errors.remote import ToolError, ToolResultInvalid
from dagstack_dev.runtimes.mcp.server_log import shortened

if TYPE_CHECKING:
    import jsonschema_rs

    from dagstack_dev.core.refs import PluginRef


_TYPED: Final = re.compile(r"(?s)(?:.*?: )?([A-Z]\w*(?:Error|Exception|Exit|Interrupt)): (.*)\Z")
"""How many servers write what was raised: `ValueError: too long`."""


class Schema:
    """A JSON Schema that a server has written, compiled, for values to be held against."""

    def __init__(self, validator: jsonschema_rs.Validator) -> None:
        self._validator = validator

    def problem_of(self, value: object) -> tuple[str, str] | None:
        """Return the first thing that is wrong: the dotted path of the value, and what it is."""
        try:
            problems = self._validator.iter_errors(value)
            problem = next((each for each in problems if _is_certain(each)), None)
        except ValueError:  # A value that is no JSON; the server is to say so.
            return None
        if problem is None:
            return None
        kind: Any = problem.kind
        if kind.name == "required" and not problem.instance_path:
            return kind.property, "is missing"
        path = ".".join(str(part) for part in problem.instance_path)
        return path, f"does not fit: {problem.message}"


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
        return _compiled(self.input_schema)

    @cached_property
    def returns(self) -> Schema | None:
        """The output schema, compiled."""
        return _compiled(self.output_schema)

    @classmethod
    def of(cls, said: object) -> Self:
        """Return a tool as the protocol spells it; what is odd and need not be there is left out.

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
    is_template: bool = False

    @classmethod
    def of(cls, said: object) -> Self:
        """Return a resource or a template as the protocol spells it."""
        key = "uriTemplate" if isinstance(said, Mapping) and "uriTemplate" in said else "uri"
        given = _named(said, key)
        return cls(
            uri=given[key],
            name=_text(given, "name") or given[key],
            description=_text(given, "description") or "",
            mime_type=_text(given, "mimeType"),
            is_template=key == "uriTemplate",
        )


@dataclass(frozen=True, slots=True)
class Prompt:
    """A prompt that can be filled in.

    Attributes:
        name: as the server knows it.
        description: for people and models.
        arguments: of each whether it is required.
        meanings: what the server says of each.
    """

    name: str
    description: str = ""
    arguments: Mapping[str, bool] = field(default_factory=dict)
    meanings: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, said: object) -> Self:
        """Return a prompt as the protocol spells it."""
        given = _named(said, "name")
        listed = given.get("arguments")
        arguments = [_named(each, "name") for each in (listed if isinstance(listed, list) else ())]
        return cls(
            name=given["name"],
            description=_text(given, "description") or "",
            arguments={each["name"]: each.get("required") is True for each in arguments},
            meanings={
                each["name"]: text for each in arguments if (text := _text(each, "description"))
            },
        )


@dataclass(frozen=True, slots=True)
class ToolAnswer:
    """What a tool has answered.

    Attributes:
        value: the structured result, else the text, else the content.
        content: all that came with it, block by block as the protocol has it.
    """

    value: Any
    content: Sequence[Any] = ()


def answer_of(ref: PluginRef, answer: Mapping[str, Any], tool: Tool) -> ToolAnswer:
    """Return what a tool has answered; see `result_of`."""
    return ToolAnswer(result_of(ref, answer, tool), _blocks(answer))


def result_of(ref: PluginRef, answer: Mapping[str, Any], tool: Tool) -> Any:
    """Return the structured result, else the text, else the content as JSON.

    Args:
        ref: the plugin, for messages.
        answer: a `CallToolResult` as the protocol spells it, more or less.
        tool: for its output schema.

    Raises:
        ToolResultInvalid: it does not fit the output schema.
    """
    value: Any = answer.get("structuredContent")
    output = tool.returns
    # Some servers write null where they have none.
    is_null = value is None and output is not None and output.problem_of(None) is None
    if value is None and not (is_null and "structuredContent" in answer):
        content = _blocks(answer)
        plain = _text_of(content[0]) if len(content) == 1 else None
        if output is not None:
            said = "" if plain is None else f", but text: {shortened(plain)}"
            reason = f"it has an output schema, and its answer no structured content{said}"
            raise ToolResultInvalid(ref, tool.name, reason)
        return (content or None) if plain is None else plain
    if output is not None and (problem := output.problem_of(value)):
        place = ".".join(["structuredContent", *filter(None, problem[:1])])
        raise ToolResultInvalid(ref, tool.name, f"{place} {problem[1]}")
    return value["result"] if _is_wrapped(value, tool) else value


def _blocks(answer: Mapping[str, Any]) -> list[Any]:
    """Return the content of an answer; some servers do not put a single block into a list."""
    content = answer.get("content")
    if content is None:
        return []
    return content if isinstance(content, list) else [content]


def _text_of(block: object) -> str | None:
    """Return the text of a block of text."""
    if isinstance(block, str):
        return block
    if not isinstance(block, Mapping) or block.get("type") != "text":
        return None
    text = block.get("text")
    return text if isinstance(text, str) else None


def _is_wrapped(value: object, tool: Tool) -> bool:
    """Return whether the SDK has put a result that is no object into one, with the key `result`.

    It marks the schema: by the title that it makes up, or in earlier versions by an extension.
    """
    schema = tool.output_schema or {}
    if not isinstance(value, Mapping) or value.keys() != {"result"}:
        return False
    properties = schema.get("properties")
    if not isinstance(properties, Mapping) or properties.keys() != {"result"}:
        return False
    title = schema.get("title")
    return bool(schema.get("x-fastmcp-wrap-result")) or (
        isinstance(title, str) and title.endswith("Output")
    )


def error_of(ref: PluginRef, tool: str, answer: Mapping[str, Any]) -> ToolError:
    """Return the error for an answer that says `isError`."""
    texts = [text for block in _blocks(answer) if (text := _text_of(block))]
    message = "\n".join(texts) or "the server does not say why"
    typed = _TYPED.match(message)
    if typed is None:
        return ToolError(ref, tool, message, data=answer.get("structuredContent"))
    return ToolError(ref, tool, typed[2], type_name=typed[1], data=answer.get("structuredContent"))


def contents_of(
    ref: PluginRef, what: str, answer: Mapping[str, Any]
) -> list[tuple[Mapping[str, Any], str | bytes]]:
    """Return the parts of a resource as the protocol has them, each with its text or bytes.

    Raises:
        ToolResultInvalid: a part is neither.
    """
    listed: Any = answer.get("contents")
    try:
        return [(part, _part(part)) for part in (listed if isinstance(listed, list) else [listed])]
    except (AttributeError, KeyError, TypeError, ValueError):
        reason = "the answer holds something that is neither text nor bytes"
        raise ToolResultInvalid(ref, what, reason) from None


def _part(part: Any) -> str | bytes:
    text = part.get("text")
    return text if isinstance(text, str) else base64.b64decode(part["blob"])


def _named(said: object, key: str) -> Mapping[str, Any]:
    """Return `said`, which must be an object with a text under `key`."""
    if not isinstance(said, Mapping):
        raise ValueError(f"{str(said)[:40]} is no object")  # noqa: TRY004
    if not _text(said, key):
        name = _text(said, "name") or "one without a name"
        raise ValueError(f"{name}: its {key} is no text")
    return said


def _text(said: Mapping[str, Any], key: str) -> str | None:
    """Return the text under `key`, if it is one."""
    found = said.get(key)
    return found if isinstance(found, str) else None


def _compiled(schema: Mapping[str, Any] | None) -> Schema | None:
    """Return `schema` compiled; None, which allows all, where it is none or refers elsewhere."""
    if schema is None:
        return None
    import jsonschema_rs  # noqa: PLC0415 - only where there is a server

    try:
        # Nothing is fetched, and no pattern takes more than linear time or so.
        return Schema(jsonschema_rs.validator_for(dict(schema), offline=True))
    except ValueError:
        return None


def _is_certain(problem: jsonschema_rs.ValidationError) -> bool:
    """Return whether a value does not fit; a pattern that is too much to try says nothing."""
    return not problem.message.startswith("Error executing regex")
