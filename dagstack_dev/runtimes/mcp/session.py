"""One MCP session over a connection, with answers as values and errors as ours.

Imports the SDK, and so is imported only by the setup of an MCP plugin.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, Self

import anyio
from mcp.client.session import ClientSession, IncomingMessage
from mcp.client.subscriptions import SubscriptionLost, ToolsListChanged, listen
from mcp.shared.exceptions import MCPError
from mcp_types import (
    METHOD_NOT_FOUND,
    REQUEST_TIMEOUT,
    UNSUPPORTED_PROTOCOL_VERSION,
    Implementation,
    LoggingMessageNotificationParams,
    PaginatedRequestParams,
    Request,
    ServerCapabilities,
    ToolListChangedNotification,
)
from pydantic import RootModel, ValidationError
from pydantic_core import to_json

from dagstack_dev._version import __version__
from dagstack_dev.core.errors import PluginRegistryError
from dagstack_dev.core.runtime_errors import HandshakeFailed, ToolArgumentsInvalid, ToolTimeout
from dagstack_dev.runtimes.mcp import dialect
from dagstack_dev.runtimes.mcp.catalogue import Prompt, Resource, Tool
from dagstack_dev.runtimes.mcp.results import contents_of, error_of, result_of
from dagstack_dev.runtimes.mcp.sdk_errors import is_loss, one_line, tool_failure

if TYPE_CHECKING:
    from types import TracebackType

    from dagstack_dev.core.refs import PluginRef
    from dagstack_dev.runtimes.mcp.endpoint import Connection
    from dagstack_dev.runtimes.mcp.server_log import ServerLog

Progress = Callable[[float, float | None, str | None], Awaitable[None]]
"""Told the progress of a call, the total where that is known, and a message."""

_AnyObject = RootModel[dict[str, Any]]

_LISTEN_AGAIN_SECONDS: Final = 1.0
"""How long to wait before a stream of changes that has ended is opened again."""

_MOST_PAGES: Final = 1000
"""Pages of a listing that are asked for; a server that never ends one is to be left."""

# What the SDK logs of odd servers we tell ourselves, on behalf of the plugin.
logging.getLogger("mcp").addHandler(logging.NullHandler())


class Session:
    """Speaks MCP with one server.

    To be entered and left in one task. Every method may raise what `Connection.why_lost` tells.

    Args:
        ref: the plugin, for messages.
        connection: what it speaks over.
        log: where the server's notifications go.
        on_new_tools: called when the server says that its tools have changed.

    Attributes:
        instructions: what the server says of itself, or None.
    """

    def __init__(
        self,
        ref: PluginRef,
        connection: Connection,
        log: ServerLog,
        on_new_tools: Callable[[Session], Awaitable[None]],
    ) -> None:
        self._ref = ref
        self._connection = connection
        self._log = log
        self._on_new_tools = on_new_tools
        self._dialect: dialect.Dialect | None = None
        read, write = connection.streams
        self._client = ClientSession(
            read,
            write,
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
                await self._client.discover()
        except MCPError as error:
            if is_loss(error):
                raise await self._connection.why_lost() from None
            raise self._refused(f"{error.message} (JSON-RPC error {error.code})") from error
        except (ValidationError, RuntimeError) as error:
            if not isinstance(error, ValidationError) or not dialect.is_spoken(error):
                raise self._refused(one_line(error)) from error
            self._dialect = dialect.Dialect(self._ask)
            self._log.speaks_dialect(tool.name for tool in dialect.TOOLS)

    async def _ask(self, method: str, params: dict[str, Any], seconds: float) -> dict[str, Any]:
        request = Request[dict[str, Any], str](method=method, params=params)
        return (await self._client.send_request(request, _AnyObject, seconds)).root

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

    async def list_tools(self) -> tuple[Tool, ...]:
        """Every tool of the server."""
        can_list = self._can.tools is not None
        found = await self._all_pages("tools", self._client.list_tools) if can_list else ()
        tools = (*map(Tool.of, found),) if self._dialect is None else dialect.TOOLS
        self._connection.note_tools(tools)
        return tools

    async def list_resources(self) -> tuple[Resource, ...]:
        """Every resource, and after that every template."""
        if self._can.resources is None:
            return ()
        plain = await self._all_pages("resources", self._client.list_resources)
        templates = await self._all_pages("resourceTemplates", self._client.list_resource_templates)
        return (*map(Resource.of, [*plain, *templates]),)

    async def list_prompts(self) -> tuple[Prompt, ...]:
        """Every prompt."""
        if self._can.prompts is None:
            return ()
        found = await self._all_pages("prompts", self._client.list_prompts)
        return (*map(Prompt.of, found),)

    async def _all_pages(self, key: str, ask: Callable[..., Awaitable[Any]]) -> list[Any]:
        found: list[Any] = []
        cursor: str | None = None
        for _ in range(_MOST_PAGES):
            params = PaginatedRequestParams(cursor=cursor) if cursor else None
            try:
                page = await ask(params=params)
            except (MCPError, ValidationError) as error:
                raise await self._failed(f"listing {key}", error) from error
            found += _as_json(page)[key]
            cursor = page.next_cursor
            if not cursor:
                break
        return found

    # Calling

    async def call_tool(
        self,
        tool: Tool,
        arguments: dict[str, Any],
        seconds: float,
        option: str,
        listener: Progress | None,
    ) -> Any:
        """The result of one call; when it is cancelled, the server is told.

        Args:
            tool: one of the server's.
            arguments: valid ones.
            seconds: how long it may take.
            option: what to raise in the manifest if that is too little.
            listener: told how far it is; the log is, by default.

        Raises:
            ToolError: the server reports a failure.
            ToolTimeout: it took too long.
            ToolResultInvalid: its result does not match its own schema.
        """

        async def tell(progress: float, total: float | None, message: str | None) -> None:
            if listener is None:
                self._log.progress(tool.name, progress, total, message)
            else:
                await listener(progress, total, message)

        try:
            if self._dialect is not None:
                return await self._dialect.call(tool, arguments, seconds)
            answer = await self._client.call_tool(tool.name, arguments, seconds, tell)
        except (MCPError, ValidationError, RuntimeError) as error:
            if isinstance(error, MCPError) and error.code == REQUEST_TIMEOUT:
                raise ToolTimeout(self._ref, tool.name, seconds, option) from None
            raise await self._failed(tool.name, error) from error
        said = _as_json(answer)
        if answer.is_error:
            raise error_of(self._ref, tool.name, said)
        return result_of(said, tool)

    async def read_resource(self, uri: str, seconds: float) -> Any:
        """Text, bytes, or a list of these."""
        what = f"reading {uri}"
        answer = await self._asked(what, seconds, self._client.read_resource, uri)
        return contents_of(answer)

    async def get_prompt(self, name: str, arguments: dict[str, str], seconds: float) -> Any:
        """The messages of one prompt."""
        what = f"prompt {name}"
        answer = await self._asked(what, seconds, self._client.get_prompt, name, arguments)
        return answer["messages"]

    async def _asked(
        self, what: str, seconds: float, ask: Callable[..., Awaitable[Any]], *args: object
    ) -> dict[str, Any]:
        try:
            to_json(args)  # The SDK would meet what UTF-8 cannot hold where it ends the session.
        except ValueError as error:
            raise ToolArgumentsInvalid(self._ref, what, "", f"cannot be sent: {error}") from error
        try:
            with anyio.fail_after(seconds):
                return _as_json(await ask(*args))
        except TimeoutError:
            raise ToolTimeout(self._ref, what, seconds, "timeout_sec") from None
        except (MCPError, ValidationError, RuntimeError) as error:
            raise await self._failed(what, error) from error

    async def _failed(self, what: str, error: Exception) -> PluginRegistryError:
        """Our error for what the SDK has raised."""
        if isinstance(error, MCPError) and is_loss(error):
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
                self._log.kept_tools(error)


def _as_json(answer: Any) -> dict[str, Any]:
    said: dict[str, Any] = answer.model_dump(by_alias=True, mode="json", exclude_unset=True)
    return said
