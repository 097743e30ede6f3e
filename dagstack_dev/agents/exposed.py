"""Plugins' own tools, prompts and resources as those of the agents' server: lists that follow."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Final, Literal

import anyio
from mcp.types import (
    GetPromptResult,
    ListPromptsResult,
    ListResourcesResult,
    ListResourceTemplatesResult,
    Prompt,
    PromptArgument,
    ReadResourceResult,
    Resource,
    ResourceTemplate,
    Tool,
    ToolAnnotations,
)
from pydantic import BaseModel, Field, ValidationError

from dagstack_dev.agents.connection import NoServer
from dagstack_dev.agents.plugin_tools import (
    CallArguments,
    call_plugin,
    raise_error_of,
    result_of,
)
from dagstack_dev.agents.tool import MARK, ToolProblem, fenced
from dagstack_dev.api.client import ApiError, ServerGone

if TYPE_CHECKING:
    from mcp.types import CallToolResult

    from dagstack_dev.agents.connection import Connection
    from dagstack_dev.agents.tool import Call

KINDS: Final = ("tools", "prompts", "resources")

LOOK_SECONDS: Final = 0.5
"""How often a dev server is looked for while there is none."""

NOW_SECONDS: Final = 5.0
"""How long an agent that lists waits to have what there is now; then it gets what was known."""

CALL_SECONDS: Final = 600.0
"""How long a tool may take; its caller may stop waiting sooner."""

LONGEST_NAME: Final = 40
"""Of a tool. Claude Code and others put the name of the server in front, as in
`mcp__dagstack-dev__`, and the model takes 64 characters in all."""

_CHANGES: Final = frozenset(
    {
        "events.missed",
        "plugin.ready",
        "plugin.removed",
        "plugin.tools_changed",
        "reload.committed",
        "reload.failed",
        "reload.rolled_back",
        "watch.started",
    }
)
"""The events after which a list may differ."""

_PART: Final = re.compile(r"[A-Za-z0-9-]+(_[A-Za-z0-9-]+)*")
_OTHER: Final = re.compile(r"[^A-Za-z0-9_-]")

_BY_NAME: Final = frozenset({"properties", "patternProperties", "$defs", "definitions"})
"""Keywords of JSON Schema that hold schemas by names."""

_VALUES: Final = frozenset({"default", "examples", "const", "enum"})
"""Keywords that hold values."""

_LEFT_OUT: Final = frozenset({"title", "$comment"})
"""Keywords with text that tells a caller nothing more."""
_SCHEME: Final = "dagstack://"


class Exposed:
    """What an agent is offered of some plugins.

    Each list is as the dev server had it last: while there is none, an agent keeps what it knows.

    Args:
        connection: the way to the dev server.
        plugins: which, as `kind/name`, patterns such as `tool/*`, or `all`.
        on_change: called with those of `KINDS` whose lists differ from what was listed before.
        read_only: whether tools are left out.
    """

    def __init__(
        self,
        connection: Connection,
        plugins: Sequence[str],
        on_change: Callable[[set[str]], Awaitable[None]],
        *,
        read_only: bool = False,
    ) -> None:
        self._connection = connection
        self._plugins = ["*" if each == "all" else each for each in plugins]
        self._on_change = on_change
        self._kinds = KINDS[1:] if read_only else KINDS
        self._found: dict[str, Mapping[str, Any]] = {}
        self._listed = set[str]()
        self._looking = anyio.Lock()

    # What has changed

    async def follow(self) -> None:
        """Keep the lists up to date until this is cancelled, whatever server comes and goes."""
        while True:
            with suppress(NoServer, ServerGone, ApiError, OSError):
                async with self._connection.stream("events") as events:
                    looked = await self._look_at_all()
                    async for event in events:
                        # Of very many plugins that are set up, most are seen by one look.
                        happened = datetime.fromisoformat(event["timestamp"])
                        if event["event"] in _CHANGES and happened >= looked:
                            looked = await self._look_at_all()
            await anyio.sleep(LOOK_SECONDS)

    async def _look_at_all(self) -> datetime:
        """Look at all lists, and rest for as long as that took; return when it began.

        Raises:
            As `Connection.ask`.
        """
        began = datetime.now(UTC)
        await self._look(*self._kinds)
        await anyio.sleep((datetime.now(UTC) - began).total_seconds())
        return began

    async def _look(self, *kinds: str) -> None:
        """Look what there is now of `kinds`, and report which lists differ.

        Raises:
            As `Connection.ask`.
        """
        async with self._looking:
            differing = set[str]()
            for kind in kinds:
                found = await self._connection.get(kind, plugin=self._plugins)
                if found["is_starting"]:
                    continue  # What there was before comes back, or it is known that it does not.
                before = self._found.get(kind, {"digest": None, kind: []})
                self._found[kind] = found
                if found["digest"] != before["digest"] and (found[kind] or before[kind]):
                    differing.add(kind)
            if news := differing & self._listed:
                await self._on_change(news)

    async def _now(self, kind: str) -> Sequence[Mapping[str, Any]]:
        """Return the list of a kind as it is now, as far as that can be known soon."""
        if self._plugins and kind in self._kinds:
            # An agent keeps what it has, as while a plugin blocks the event loop.
            with (
                suppress(NoServer, ServerGone, ApiError, OSError),
                anyio.move_on_after(NOW_SECONDS),
            ):
                await self._look(kind)
            self._listed.add(kind)
        return self._known(kind)

    def _known(self, kind: str) -> Sequence[Mapping[str, Any]]:
        found: Sequence[Mapping[str, Any]] = self._found.get(kind, {}).get(kind, ())
        return found

    async def _find(self, kind: str, name: str) -> Any:
        """Return what agents call `name`, as it is known, else as it is now; None for nothing."""
        return _by_name(self._known(kind)).get(name) or _by_name(await self._now(kind)).get(name)

    # Tools

    async def tools(self) -> list[Tool]:
        """Return the tools; of several that a server calls the same, the one that is called."""
        found = _by_name(await self._now("tools"))
        return [
            Tool(
                name=name,
                description=_described(each),
                input_schema=_input_schema(each["parameters"]),
                annotations=_annotations(each["annotations"]),
            )
            for name, each in reversed(found.items())
        ]

    async def call(self, name: str, call: Call, arguments: dict[str, Any]) -> CallToolResult | None:
        """Call a tool; None if there is none of this name.

        Raises:
            ToolProblem: it has raised, or what it returns is too large.
            As `Connection.ask`.
        """
        found = await self._find("tools", name)
        if found is None:
            if self._plugins:
                await self._connection.server()  # Without one, it may just not be known yet.
            return None
        asked = CallArguments(
            plugin=found["plugin"],
            method=found["name"],
            arguments=arguments,
            timeout_seconds=CALL_SECONDS,
        )
        return result_of(await call_plugin(call, asked))

    # Prompts

    async def prompts(self) -> ListPromptsResult:
        """Return the prompts."""
        return ListPromptsResult(prompts=[*map(_prompt, await self._now("prompts"))])

    async def prompt(self, name: str, call: Call, arguments: Mapping[str, str]) -> GetPromptResult:
        """Return a prompt, filled in.

        Raises:
            ToolProblem: there is none of this name, or its server has failed.
            As `Connection.ask`.
        """
        found = await self._find("prompts", name)
        if found is None:
            raise ToolProblem(f"there is no prompt {name!r}")
        asked = {"plugin": found["plugin"], "name": found["name"], "arguments": {**arguments}}
        answer = await call.post("prompt", **asked, timeout_seconds=CALL_SECONDS)
        raise_error_of(answer, name)
        try:
            return GetPromptResult(
                meta=MARK, description=_described(found), messages=answer["messages"]
            )
        except ValidationError as error:
            raise ToolProblem(f"{name}: what its server has sent is no prompt") from error

    # Resources

    async def resources(self) -> ListResourcesResult:
        """Return the resources."""
        found = [each for each in await self._now("resources") if not each["is_template"]]
        return ListResourcesResult(
            resources=[Resource(uri=_uri(each), **_about(each)) for each in found]
        )

    async def templates(self) -> ListResourceTemplatesResult:
        """Return the templates of resources."""
        found = [each for each in await self._now("resources") if each["is_template"]]
        return ListResourceTemplatesResult(
            resource_templates=[
                ResourceTemplate(uri_template=_uri(each), **_about(each)) for each in found
            ]
        )

    async def resource(self, uri: str, call: Call) -> ReadResourceResult:
        """Return what a resource holds.

        Raises:
            ToolProblem: it is of no plugin that is exposed, or its server has failed.
            As `Connection.ask`.
        """
        known = {each["plugin"] for each in await self._now("resources")}
        kind, name, own = (*uri.removeprefix(_SCHEME).split("/", 2), "", "")[:3]
        plugin = f"{kind}/{name}"
        if not uri.startswith(_SCHEME) or plugin not in known:
            raise ToolProblem(f"there is no resource {uri!r}; resources/list has those there are")
        answer = await call.post("resource", plugin=plugin, uri=own, timeout_seconds=CALL_SECONDS)
        raise_error_of(answer, own)
        before = uri.removesuffix(own)
        contents = [{**each, "uri": before + each.get("uri", own)} for each in answer["contents"]]
        try:
            return ReadResourceResult.model_validate({"_meta": MARK, "contents": contents})
        except ValidationError as error:
            raise ToolProblem(f"{uri}: what its server has sent is no resource") from error


def exposed_name(plugin: str, name: str) -> str:
    """Return what agents call a tool or prompt by; it follows from these two alone, so it stays.

    `tool__scales__convert` for `convert` of `tool/scales`. Where this would be too long, hold other
    characters than clients take, or be that of another plugin, too, it ends with a digest.

    Args:
        plugin: as `kind/name`.
        name: as the plugin knows it.
    """
    parts = plugin.split("/", 1)
    plain = "__".join([*parts, name])
    is_clear = all(map(_PART.fullmatch, parts)) and not _OTHER.search(name)
    if is_clear and len(plain) <= LONGEST_NAME:
        return plain
    digest = blake2b(f"{plugin}\0{name}".encode(), digest_size=4).hexdigest()
    return f"{_OTHER.sub('_', plain)[: LONGEST_NAME - 1 - len(digest)]}-{digest}"


def _by_name(offered: Sequence[Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    """Return what plugins offer by what agents call it, backwards; of one name, the first."""
    return {exposed_name(each["plugin"], each["name"]): each for each in reversed(offered)}


def _described(offered: Mapping[str, Any]) -> str:
    words, own = f"Of the plugin {offered['plugin']}", offered["description"]
    return f"{words}:\n{fenced(own)}" if own else f"{words}."


class _InputSchema(BaseModel):
    """What the protocol demands of the schema of a tool's arguments."""

    dialect: str = Field("", alias="$schema")
    type: Literal["object"] = "object"
    properties: dict[str, dict[str, Any]] = {}
    required: list[str] = []


def _input_schema(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return a schema that clients take: for one that they do not, they would take no tool."""
    try:
        _InputSchema.model_validate(given)
    except ValidationError:  # It is a server's, which says at a call what does not fit.
        return {"type": "object"}
    return {"type": "object", **_marked(given)}


def _marked(schema: Any, *, is_by_name: bool = False) -> Any:
    """Return a JSON Schema of which a reader sees that its descriptions are a plugin's.

    Args:
        schema: all of it, or a part.
        is_by_name: whether the part holds schemas by names.
    """
    if isinstance(schema, list):
        return [*map(_marked, schema)]
    if not isinstance(schema, Mapping):
        return schema
    found = {}
    for key, each in schema.items():
        if is_by_name or not isinstance(each, str):
            is_value = key in _VALUES and not is_by_name
            found[key] = each if is_value else _marked(each, is_by_name=key in _BY_NAME)
        elif key not in _LEFT_OUT:
            found[key] = fenced(each) if key == "description" else each
    return found


def _annotations(given: Mapping[str, Any]) -> ToolAnnotations | None:
    hints = {name: each for name, each in given.items() if name.endswith("Hint")}
    try:
        return ToolAnnotations.model_validate(hints) if hints else None
    except ValidationError:  # It is a server's.
        return None


def _prompt(offered: Mapping[str, Any]) -> Prompt:
    meanings = {name: fenced(each) for name, each in offered["meanings"].items()}
    return Prompt(
        name=exposed_name(offered["plugin"], offered["name"]),
        description=_described(offered),
        arguments=[
            PromptArgument(name=name, required=required, description=meanings.get(name))
            for name, required in offered["arguments"].items()
        ],
    )


def _uri(resource: Mapping[str, Any]) -> str:
    return f"{_SCHEME}{resource['plugin']}/{resource['uri']}"


def _about(resource: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "name": exposed_name(resource["plugin"], resource["name"]),
        "description": _described(resource),
        "mime_type": resource["mime_type"],
    }
