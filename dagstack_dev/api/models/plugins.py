"""The server, its plugins, and what depends on what."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import Field

from dagstack_dev.api.models.base import ErrorReport, Model, Ref
from dagstack_dev.api.models.reloads import ReloadOfPlugin


class ReceiptReport(Model):
    """Whether what runs of a plugin is what is on disk."""

    is_current: bool = Field(
        description="It is ready, and it and all that it depends on run what is on disk."
    )
    generation: int = Field(description="The import that runs, from 1; 0 when none does.")
    running: str | None = Field(description="Digest of what runs, dependencies included.")
    on_disk: str | None = Field(description="Digest of what a restart would run.")
    reason: str | None = Field(None, description="Why it is not current though it is ready.")
    pending: str | None = Field(None, description="Why what is on disk does not run.")
    pending_since: datetime | None = None
    because: list[str] = Field(
        default_factory=list,
        description="From the plugin to the root cause, where it does not run.",
    )


class PluginReport(Model):
    """One plugin."""

    plugin: Ref
    state: str
    since: datetime
    path: str | None
    receipt: ReceiptReport
    error: ErrorReport | None = None
    stage: str | None = Field(None, description="The step that failed.")
    blocked_by: list[str] = Field(default_factory=list)
    degraded: bool = False
    requires_restart: bool = False
    depends_on: list[str] = Field(default_factory=list)
    dependents: list[str] = Field(default_factory=list)
    setup_ms: float | None = None


class MethodReport(Model):
    """One method of a plugin that can be called."""

    name: str
    signature: str
    description: str = Field("", description="What its docstring says.")
    parameters: dict[str, Any] | None = Field(
        None, description="JSON Schema of the arguments by name, if they are known."
    )
    path: str | None = None
    line: int | None = None


class ManifestReport(Model):
    """The manifest of what runs, without secrets."""

    path: str
    text: str


class StateReport(Model):
    """A state that a plugin was in."""

    state: str
    since: datetime
    reason: str
    error: ErrorReport | None = None


class GenerationReport(Model):
    """A generation of a plugin that has become ready."""

    generation: int
    since: datetime
    diff: str | None = Field(
        None, description="What it has changed of the files of the one before."
    )


class PluginDetail(PluginReport):
    """Everything about one plugin."""

    manifest: ManifestReport | None = None
    resources: list[str] = Field(
        default_factory=list, description="What it asks for and the app has."
    )
    history: list[StateReport] = Field(
        default_factory=list, description="The last 50 states, the newest last."
    )
    generations: list[GenerationReport] = Field(
        default_factory=list, description="The last 10 that were ready, the newest last."
    )
    methods: list[MethodReport] = Field(default_factory=list)
    panels: list[str] = Field(default_factory=list, description="Their titles.")
    leaks: list[str] = Field(default_factory=list)
    last_reload: ReloadOfPlugin | None = None


class MainLoop(Model):
    """Whether the event loop of the plugins answers."""

    is_responding: bool
    blocked_seconds: float = 0.0
    is_at_least: bool = Field(
        default=False, description="It may have been blocked for a little longer."
    )
    at: str | None = Field(None, description="The line that keeps it busy, as path:line.")
    plugin: Ref | None = None


class Status(Model):
    """The server and all its plugins."""

    version: str
    pid: int
    socket: str = Field(description="The path of the socket that answers.")
    started: datetime
    roots: list[str]
    page: str | None = Field(None, description="The address of the dev page, if it is served.")
    snapshot: int = Field(description="Counts up with every change.")
    is_current: bool = Field(
        description="Nothing is left to be dealt with or refused, "
        "and every plugin runs what is on disk."
    )
    is_busy: bool = Field(description="Something that was saved or asked for is being dealt with.")
    is_paused: bool = Field(description="Edits wait.")
    has_edits_waiting: bool = Field(description="There are some that do.")
    main_loop: MainLoop
    refused: dict[str, str] = Field(
        description="By path, why what is there is of no plugin, or is not in force."
    )
    plugins: list[PluginReport]
    total: int = Field(description="How many there are, with those that cannot even be named.")


class GraphNode(Model):
    """Where a plugin, or a folded group of them, stands in a picture, in pixels."""

    plugin: Ref | None = Field(None, description="None for a group.")
    group: str | None = None
    plugins: list[Ref] = Field(default_factory=list, description="Those of the group.")
    x: float = Field(description="The left edge of its box.")
    y: float = Field(description="The upper edge of its box.")
    width: float
    height: float
    layer: int = Field(description="How many it depends on in a row.")


class GraphGroup(Model):
    """A group of plugins, folded or not."""

    name: str
    size: int = Field(description="How many plugins it has.")


class Graph(Model):
    """What depends on what, and where each plugin stands: right of all that it depends on."""

    topology: str = Field(description="Digest of plugins and edges; equal ones look the same.")
    width: float
    height: float
    nodes: list[GraphNode]
    edges: list[tuple[str, str]] = Field(
        description="A plugin, and what it depends on; `GROUP/*` for a folded group."
    )
    groups: list[GraphGroup] = Field(default_factory=list)
