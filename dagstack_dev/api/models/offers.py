"""What plugins offer, and what they have answered."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from pydantic import Field

from dagstack_dev.api.models.base import AccountPart, ErrorReport, Model, Ref


class PanelForm(StrEnum):
    """How a panel is to be shown."""

    JSON = "json"
    MARKDOWN = "markdown"


class PanelReport(Model):
    """A panel of a plugin, without secrets."""

    title: str
    kind: PanelForm
    value: Any = Field(default=None, description="A text if it is Markdown, else JSON.")
    error: ErrorReport | None = None
    account: list[AccountPart] = Field(
        default_factory=list, description="What it has raised, and where."
    )


class Panels(Model):
    """What the panels of a plugin show now."""

    panels: list[PanelReport]


class Answer(Model):
    """What a plugin has answered."""

    plugin: Ref
    duration_ms: float
    error: ErrorReport | None = Field(None, description="What it has raised.")
    account: list[AccountPart] = Field(
        default_factory=list, description="What it has raised, and where."
    )


class CallAnswer(Answer):
    """What a call has returned or raised."""

    method: str
    result: Any = Field(default=None, description="As JSON, where it can be.")
    text: str | None = Field(None, description="`repr` of a result that JSON has no form for.")
    content: list[Any] | None = Field(
        None, description="What a tool of an MCP server has answered, block by block as MCP has it."
    )


class Offer(Model):
    """What plugins offer.

    Of one that is being reloaded or has failed, it is what it offered before.
    """

    digest: str = Field(description="Differs only if the list does.")
    is_starting: bool = Field(
        description="The first start is under way; what it has not set up is missing."
    )


class ToolReport(Model):
    """A method, or a tool of an MCP server, that can be called by name."""

    plugin: Ref
    name: str = Field(description="What to call it by, as `method`.")
    description: str
    parameters: dict[str, Any] = Field(description="JSON Schema of the arguments, an object.")
    title: str | None = None
    returns: dict[str, Any] | None = Field(
        None, description="JSON Schema of its structured result, if its server gives one."
    )
    annotations: dict[str, Any] = Field(
        default_factory=dict, description="Hints of its server, such as `readOnlyHint`."
    )


class Tools(Offer):
    """What can be called by name."""

    tools: list[ToolReport]


class PromptReport(Model):
    """A prompt of an MCP server."""

    plugin: Ref
    name: str
    description: str
    arguments: dict[str, bool] = Field(description="Of each whether it is required.")
    meanings: dict[str, str] = Field(description="What the server says of each.")


class Prompts(Offer):
    """The prompts of MCP servers."""

    prompts: list[PromptReport]


class ResourceReport(Model):
    """A resource of an MCP server."""

    plugin: Ref
    uri: str
    name: str
    description: str
    mime_type: str | None = None
    is_template: bool = Field(description="Its URI has `{names}` to be filled in.")


class Resources(Offer):
    """The resources of MCP servers."""

    resources: list[ResourceReport]


class PromptAnswer(Answer):
    """A prompt, filled in."""

    name: str
    messages: list[Any] = Field(default_factory=list, description="As MCP has them.")


class ResourceAnswer(Answer):
    """What a resource holds."""

    uri: str
    contents: list[Any] = Field(default_factory=list, description="Its parts, as MCP has them.")
