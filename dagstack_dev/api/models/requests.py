"""What is asked for with a body."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from dagstack_dev.api.models.base import Model, Ref


class ReloadRequest(Model):
    """Which plugins to reload though nothing changed; none: look at the whole disk.

    `everything` reloads all of them.
    """

    plugins: list[Ref] = Field(default_factory=list)
    everything: bool = False
    timeout_seconds: float = Field(60.0, gt=0, le=3600)


class CallRequest(Model):
    """One call of a method of a plugin."""

    plugin: Ref
    method: str
    arguments: dict[str, Any] = Field(default_factory=dict)
    coerce: bool = Field(
        default=False,
        description="Arguments are texts, to be read as the method's annotations say.",
    )
    timeout_seconds: float = Field(60.0, gt=0, le=3600)


class PromptRequest(Model):
    """Which prompt of an MCP server to get."""

    plugin: Ref
    name: str
    arguments: dict[str, str] = Field(default_factory=dict)
    timeout_seconds: float = Field(60.0, gt=0, le=3600)


class ResourceRequest(Model):
    """Which resource of an MCP server to read."""

    plugin: Ref
    uri: str
    timeout_seconds: float = Field(60.0, gt=0, le=3600)


class PauseRequest(Model):
    """Whether edits are to wait."""

    paused: bool = True


class StopRequest(Model):
    """That the server is to end; it needs no fields."""


class PageRequest(Model):
    """That the dev page is to be served; it needs no fields."""


class OpenRequest(Model):
    """A place that the owner of the server is to be shown."""

    path: str = Field(description="The absolute path of a file of plugins or their shared code.")
    line: int = Field(1, ge=1)
