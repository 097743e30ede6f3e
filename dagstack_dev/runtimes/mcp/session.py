"""One MCP session over a connection, with answers as values and errors as ours.

Imports the SDK, and so is imported only by the setup of an MCP plugin.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar

import anyio
from mcp.client.session import ClientSession, IncomingMessage
from mcp.client.subscriptions import SubscriptionLost, ToolsListChanged, listen
from mcp.shared.dispatcher import ProgressFnT
from mcp.shared.exceptions import MCPError
from mcp.types import (
    METHOD_NOT_FOUND,
    UNSUPPORTED_PROTOCOL_VERSION,
    Implementation,
    LoggingMessageNotificationParams,
    Request,
    ServerCapabilities,
    ToolListChangedNotification,
)
from pydantic import RootModel, ValidationError
from pydantic_core import to_json

from dagstack_dev._version import __version__
from dagstack_dev.core.errors.base import PluginRegistryError
from dagstack_dev.core.errors.remote import (
    HandshakeFailed,
    ToolArgumentsInvalid,
    ToolError,
    ToolResultInvalid,
    ToolTimeout,
)
from dagstack_dev.runtimes.mcp import dialect
from dagstack_dev.runtimes.mcp.catalogue import Prompt, Resource, Tool
from dagstack_dev.runtimes.mcp.dispatcher import Answers
from dagstack_dev.runtimes.mcp.results import contents_of, error_of, result_of
from dagstack_dev.runtimes.mcp.sdk_errors import is_loss, is_timeout, one_line, tool_failure
from dagstack_dev.runtimes.mcp.server_log import shortened
from dagstack_dev.runtimes.mcp.wire import plain_result, said_by_server

if TYPE_CHECKING:
    from types import TracebackType

    from dagstack_dev.core.refs import PluginRef
    from dagstack_dev.runtimes.mcp.endpoint import Connection
    from dagstack_dev.runtimes.mcp.server_log import ServerLog

Progress = Callable[[float, float | None, str | None], Awaitable[None]]
"""Told the progress of a call, the total where that is known, and a message."""

T = TypeVar("T")

_AnyObject = RootModel[dict[str, Any]]

_SDK_ERRORS: Final = (MCPError, ValidationError, RuntimeError)
"""What a request of the SDK's session raises."""

_LISTEN_AGAIN_SECONDS: Final = 1.0
"""How long to wait before a stream of changes that has ended is opened again."""

MOST_PAGES: Final = 1000
"""Pages of a listing that are asked for; a server that never ends one is to be left."""

# What the SDK logs of odd servers we tell ourselves, on behalf of the plugin. Its session logs as
# "client"; both would else be written to standard error, with tracebacks.
for _name in ("mcp", "client"):
    logging.getLogger(_name).addHandler(logging.NullHandler())


class Session:
    """Speaks MCP with one server.

    To be entered and left in one task. Every method may raise what `Connection.why_lost` tells.

    Args:
        ref: the plugin, for messages.
        connection: what it speaks over.
        log: where the server's notifications go.
        option: what to raise in the manifest when a request takes too long.
        on_new_tools: called when the server says that its tools have changed.

    Attributes:
        instructions: what the server says of itself, or None.
    """

    def __init__(
        self,
        ref: PluginRef,
        connection: Connection,
        log: ServerLog,
        option: str,
        on_new_tools: Callable[[Session], Awaitable[None]],
    ) -> None:
        self._ref = ref
        self._connection = connection
        self._log = log
        self._option = option
        self._on_new_tools = on_new_tools
        self._dialect: dialect.Dialect | None = None
        self._answers = Answers(*connection.streams)
        self._client = ClientSession(
            dispatcher=self._answers,
            logging_callback=self._on_log,
            message_handler=self._on_message,
            client_info=Implementation(name="dagstack-dev", version=__version__),
            log_level="debug",
        )

    async def __aenter__(self) -> Self:
        await self._client.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._client.__aexit__(kind, error, traceback)

    # Handshake

    async def shake_hands(self) -> None:
        """Agree on a version of the protocol, or on the dialect of dagstack-plugin-system.

        `initialize` comes first, which every server knows; one that refuses it, being of a later
        version than that, is asked `server/discover`.

        Raises:
            HandshakeFailed: what comes back is not what an MCP server says.
        """
        try:
            try:
                await self._client.initialize()
            except MCPError as error:
                if error.code not in {UNSUPPORTED_PROTOCOL_VERSION, METHOD_NOT_FOUND}:
                    raise
                self._answers.is_modern = True
                await self._client.discover()
        except MCPError as error:
            if is_loss(error):
                raise await self._connection.why_lost() from None
            code = f" (JSON-RPC error {error.code})" if said_by_server(error.data) else ""
            raise self._refused(f"{error.message}{code}") from error
        except (ValidationError, RuntimeError) as error:
            if not isinstance(error, ValidationError) or not dialect.is_spoken(error):
                raise self._refused(one_line(error)) from error
            self._dialect = dialect.Dialect(self._ask)
            methods = ", ".join(tool.name for tool in dialect.TOOLS)
            text = "speaks the JSON-RPC of dagstack-plugin-system, not MCP; its methods are"
            self._log.say(f"{text} {methods}")

    async def say_goodbye(self, seconds: float) -> None:
        """Tell the server that it is over, where it wants to be told; in a part of `seconds`."""
        if self._dialect is not None:
            with suppress(MCPError, ValidationError, RuntimeError):
                await self._dialect.shut_down(seconds)

    def _refused(self, reason: str) -> HandshakeFailed:
        message = f"the MCP handshake failed: {reason}"
        return HandshakeFailed(self._ref, message, last_words=self._connection.last_words())

    @property
    def instructions(self) -> str | None:
        """What the server says of itself."""
        return self._client.instructions

    @property
    def _can(self) -> ServerCapabilities:
        return self._client.server_capabilities or ServerCapabilities()

    @property
    def must_subscribe(self) -> bool:
        """Whether the server tells of new tools only to those who listen."""
        changes = self._can.tools is not None and bool(self._can.tools.list_changed)
        return changes and self._client.discover_result is not None

    async def subscribe(self) -> None:
        """Listen until the server is gone, or says that it tells nothing.

        A stream that ends before is opened again, and what it may have missed is looked up.
        """
        while True:
            try:
                async with listen(self._client, tools_list_changed=True) as events:
                    async for event in events:
                        if isinstance(event, ToolsListChanged):
                            await self._on_new_tools(self)
            except (SubscriptionLost, MCPError) as error:
                if isinstance(error, MCPError) and error.code == METHOD_NOT_FOUND:
                    return
                # Has the connection look whether it is lost; if so, its `watch` says so.
                await self._connection.why_lost()
            await anyio.sleep(_LISTEN_AGAIN_SECONDS)
            await self._on_new_tools(self)

    # Listing

    async def list_tools(self, seconds: float) -> tuple[Tool, ...]:
        """Every tool of the server; one that is malformed is left out, and named in the log.

        Args:
            seconds: how long all of it may take; as for the other lists.
        """
        if self._dialect is not None:
            return dialect.TOOLS
        can_list = self._can.tools is not None
        found = await self._listed("tools/list", "tools", seconds) if can_list else []
        tools = {tool.name: tool for tool in reversed(self._valid("tool", Tool.of, found))}
        self._connection.note_tools(tools.values())
        return (*reversed(tools.values()),)

    async def list_resources(self, seconds: float) -> tuple[Resource, ...]:
        """Every resource, and after that every template."""
        if self._can.resources is None:
            return ()
        found = await self._optional("resources/list", "resources", seconds)
        found += await self._optional("resources/templates/list", "resourceTemplates", seconds)
        return (*self._valid("resource", Resource.of, found),)

    async def list_prompts(self, seconds: float) -> tuple[Prompt, ...]:
        """Every prompt."""
        if self._can.prompts is None:
            return ()
        found = await self._optional("prompts/list", "prompts", seconds)
        return (*self._valid("prompt", Prompt.of, found),)

    def _valid(self, kind: str, of: Callable[[object], T], found: list[object]) -> list[T]:
        valid = []
        for each in found:
            try:
                valid.append(of(each))
            except ValueError as error:
                self._log.say(f"leaves out a malformed {kind}: {error}", "warning")
        return valid

    async def _optional(self, method: str, key: str, seconds: float) -> list[object]:
        try:
            return await self._listed(method, key, seconds)
        except ToolError as error:
            if error.code != METHOD_NOT_FOUND:
                raise
            return []

    async def _listed(self, method: str, key: str, seconds: float) -> list[object]:
        what, ends = f"listing {key}", anyio.current_time() + seconds
        found: list[object] = []
        cursors: set[object] = set()
        cursor: object = None
        while cursor not in cursors and len(cursors) < MOST_PAGES:
            cursors.add(cursor)
            params = {} if cursor is None else {"cursor": cursor}
            left = max(ends - anyio.current_time(), 0.0)
            page = await self._asked(what, method, params, left)
            if not isinstance(page.get(key), list):
                raise ToolResultInvalid(self._ref, what, f"the answer holds no list of {key}")
            found += page[key]
            cursor = page.get("nextCursor")
            if not isinstance(cursor, str | int) or cursor == "":
                return found
        end = f"given up after {len(cursors)} pages; the server's cursor comes to no end"
        self._log.say(f"listing {key}: {end}", "warning")
        return found

    # Calling

    async def call_tool(
        self,
        tool: Tool,
        arguments: dict[str, Any],
        seconds: float,
        listener: Progress | None,
    ) -> Any:
        """The result of one call; when it is cancelled, the server is told.

        Args:
            tool: one of the server's.
            arguments: valid ones.
            seconds: how long it may take.
            listener: told how far it is; the log is, by default.

        Raises:
            ToolError: the server reports a failure.
            ToolTimeout: it took too long.
            ToolResultInvalid: its result does not match its own schema.
        """

        async def tell(progress: float, total: float | None, message: str | None) -> None:
            if listener is None:
                of = "" if total is None else f" of {total:g}"
                said = f": {message}" if message else ""
                self._log.say(f"{tool.name}: {progress:g}{of}{said}")
            else:
                await listener(progress, total, message)

        if self._dialect is not None:
            try:
                return await self._dialect.call(tool, arguments, seconds)
            except _SDK_ERRORS as error:
                raise await self._failed(tool.name, error, seconds) from error
        params = {"name": tool.name, "arguments": arguments}
        said = await self._asked(tool.name, "tools/call", params, seconds, tell)
        if said.get("isError") is True:
            raise error_of(self._ref, tool.name, said)
        return result_of(self._ref, said, tool)

    async def read_resource(self, uri: str, seconds: float) -> Any:
        """Text, bytes, or a list of these."""
        what = f"reading {uri}"
        answer = await self._asked(what, "resources/read", {"uri": uri}, seconds)
        return contents_of(self._ref, what, answer)

    async def get_prompt(self, name: str, arguments: dict[str, str], seconds: float) -> Any:
        """The messages of one prompt."""
        what = f"prompt {name}"
        params = {"name": name, "arguments": arguments}
        answer = await self._asked(what, "prompts/get", params, seconds)
        if not isinstance(answer.get("messages"), list):
            raise ToolResultInvalid(self._ref, what, "the answer holds no list of messages")
        return answer["messages"]

    async def _asked(
        self,
        what: str,
        method: str,
        params: dict[str, Any],
        seconds: float,
        listener: ProgressFnT | None = None,
    ) -> dict[str, Any]:
        """The answer to a request, as the server spells it, with errors of ours; see `call_tool`.

        Args:
            what: for messages, the tool's name or what else it is.
            method: of the protocol.
            params: of the request.
            seconds: how long it may take.
            listener: told how far it is.
        """
        try:
            to_json(params)  # The SDK would meet what UTF-8 cannot hold where it ends the session.
        except ValueError as error:
            reason = f"cannot be sent as JSON: {error}"
            raise ToolArgumentsInvalid(self._ref, what, "", reason) from error
        try:
            answer = plain_result(await self._ask(method, params, seconds, listener))
        except _SDK_ERRORS as error:
            raise await self._failed(what, error, seconds) from error
        if not isinstance(answer, dict):
            given = shortened(json.dumps(answer, ensure_ascii=False))
            raise ToolResultInvalid(self._ref, what, f"the result is {given} and no object")
        if answer.get("resultType") == "input_required":
            raise ToolError(self._ref, what, "the server asks for input, which is not supported")
        return answer

    async def _ask(
        self,
        method: str,
        params: dict[str, Any],
        seconds: float,
        listener: ProgressFnT | None = None,
    ) -> dict[str, Any]:
        request = Request[dict[str, Any], str](method=method, params=params)
        await self._client.send_request(request, _AnyObject, seconds, progress_callback=listener)
        return self._answers.latest  # Nothing else has run since it came in.

    async def _failed(self, what: str, error: Exception, seconds: float) -> PluginRegistryError:
        """Our error for what the SDK has raised."""
        if isinstance(error, MCPError):
            if is_timeout(error):
                return ToolTimeout(self._ref, what, seconds, self._option)
            if is_loss(error):
                return await self._connection.why_lost()
        return tool_failure(self._ref, what, error)

    # What the server says by itself

    async def _on_log(self, params: LoggingMessageNotificationParams) -> None:
        self._log.message(params.level, params.logger, params.data)

    async def _on_message(self, message: IncomingMessage) -> None:
        if isinstance(message, ToolListChangedNotification):
            try:
                await self._on_new_tools(self)
            except PluginRegistryError as error:
                text = "keeps the tools that are known, for those that it tells of are not"
                self._log.say(f"{text}: {error}", "warning")
