"""One MCP session over a connection, with answers as values and errors as ours.

Imports the SDK, and so is imported only by the setup of an MCP plugin.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Awaitable, Callable
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar

import anyio
from mcp.client.session import ClientSession, IncomingMessage
from mcp.shared.dispatcher import ProgressFnT
from mcp.shared.exceptions import MCPError
from mcp.types import (
    METHOD_NOT_FOUND,
    UNSUPPORTED_PROTOCOL_VERSION,
    EmptyResult,
    Implementation,
    InitializedNotification,
    InitializeResult,
    LoggingMessageNotificationParams,
    Request,
    ServerCapabilities,
    ToolListChangedNotification,
)
from mcp.types.version import HANDSHAKE_PROTOCOL_VERSIONS
from pydantic import ValidationError
from pydantic_core import to_json

from dagstack_dev._version import __version__
from dagstack_dev.core.errors.base import PluginRegistryError, in_words
from dagstack_dev.core.errors.remote import (
    HandshakeFailed,
    ToolArgumentsInvalid,
    ToolError,
    ToolResultInvalid,
    ToolTimeout,
)
from dagstack_dev.runtimes.mcp import dialect
from dagstack_dev.runtimes.mcp.catalogue import (
    Prompt,
    Resource,
    Tool,
    contents_of,
    error_of,
    result_of,
)
from dagstack_dev.runtimes.mcp.peer import Answered, Peer
from dagstack_dev.runtimes.mcp.server_log import shortened
from dagstack_dev.runtimes.mcp.wire import NoAnswer, Unreadable

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from types import TracebackType

    from dagstack_dev.core.refs import PluginRef
    from dagstack_dev.runtimes.mcp.endpoint import Connection
    from dagstack_dev.runtimes.mcp.server_log import ServerLog

Progress = Callable[[float, float | None, str | None], Awaitable[None]]
"""Told the progress of a call, the total where that is known, and a message."""

T = TypeVar("T")

_US: Final = Implementation(name="dagstack-dev", version=__version__)

_LISTEN_AGAIN_SECONDS: Final = 1.0
"""How long to wait before a stream of changes that has ended is opened again."""

MOST_PAGES: Final = 1000
"""Pages of a listing that are asked for; a server that never ends one is to be left."""

# What the SDK's session logs of odd servers we tell ourselves, on behalf of the plugin. It would
# else be written to standard error, with tracebacks.
logging.getLogger("client").addHandler(logging.NullHandler())


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
        self._offers: Mapping[str, Any] = {}
        self.instructions: str | None = None
        self._client = ClientSession(
            dispatcher=Peer(connection),
            logging_callback=self._on_log,
            message_handler=self._on_message,
            client_info=_US,
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
        params = {
            "protocolVersion": HANDSHAKE_PROTOCOL_VERSIONS[-1],
            "capabilities": {},
            "clientInfo": _US.model_dump(exclude_none=True),
        }
        try:
            answer = await self._ask("initialize", params, None)
        except MCPError as error:
            if error.code not in {UNSUPPORTED_PROTOCOL_VERSION, METHOD_NOT_FOUND}:
                raise self._refused(f"{error.message} (JSON-RPC error {error.code})") from error
            await self._discover()
        except NoAnswer as error:
            raise self._refused(str(error)) from error
        else:
            await self._initialize(answer)

    async def _initialize(self, answer: object) -> None:
        """Agree to what a server has answered to `initialize`."""
        said = answer if isinstance(answer, dict) else {}
        version = said.get("protocolVersion")
        if not isinstance(version, str):
            if not dialect.is_spoken(said):
                raise self._refused("its answer to initialize names no version of the protocol")
            self._dialect = dialect.Dialect(self._ask)
            methods = ", ".join(tool.name for tool in dialect.TOOLS)
            text = "speaks the JSON-RPC of dagstack-plugin-system, not MCP; its methods are"
            self._log.say(f"{text} {methods}")
            return
        if version not in HANDSHAKE_PROTOCOL_VERSIONS:
            raise self._refused(f"Unsupported protocol version from the server: {version}")
        self._note(said.get("capabilities"), said.get("instructions"))
        known = InitializeResult(
            protocol_version=version,
            capabilities=ServerCapabilities(),
            server_info=Implementation(name="?", version="?"),
        )
        self._client.adopt(known)
        await self._client.send_notification(InitializedNotification())

    async def _discover(self) -> None:
        """Agree with a server that knows no `initialize`."""
        try:
            said = await self._client.discover()
        except MCPError as error:
            raise self._refused(f"{error.message} (JSON-RPC error {error.code})") from error
        except (Answered, NoAnswer, RuntimeError, ValidationError) as error:
            raise self._refused(in_words(error).partition("\n")[0]) from error
        self._note(said.capabilities.model_dump(by_alias=True), said.instructions)

    def _note(self, capabilities: object, instructions: object) -> None:
        """Note what a server has to offer; what is odd of it is left out."""
        self._offers = capabilities if isinstance(capabilities, dict) else {}
        self.instructions = instructions if isinstance(instructions, str) else None

    async def say_goodbye(self, seconds: float) -> None:
        """Tell the server that it is over, where it wants to be told; in a part of `seconds`."""
        if self._dialect is not None:
            with suppress(MCPError, NoAnswer, TimeoutError, PluginRegistryError):
                await self._dialect.shut_down(seconds)

    def _refused(self, reason: str) -> HandshakeFailed:
        message = f"the MCP handshake failed: {reason}"
        return HandshakeFailed(self._ref, message, last_words=self._connection.last_words())

    @property
    def must_subscribe(self) -> bool:
        """Whether the server tells of new tools only to those who listen."""
        tools = self._offers.get("tools")
        changes = isinstance(tools, dict) and tools.get("listChanged") is True
        return changes and self._client.discover_result is not None

    async def subscribe(self) -> None:
        """Listen until the server is gone, or says that it tells nothing.

        A request that is answered has ended, so it is made again, and what may have been missed
        is looked up. That the connection is lost, its `watch` says.
        """
        wanted = {"notifications": {"toolsListChanged": True}}
        while True:
            try:
                await self._ask("subscriptions/listen", wanted, None)
            except MCPError as error:
                if error.code == METHOD_NOT_FOUND:
                    return
            except (NoAnswer, PluginRegistryError):
                pass
            await anyio.sleep(_LISTEN_AGAIN_SECONDS)
            await self._renew()

    # Listing

    async def list_tools(self, seconds: float) -> tuple[Tool, ...]:
        """Return every tool of the server; one that is malformed is left out, and named in the log.

        Args:
            seconds: how long all of it may take; as for the other lists.
        """
        if self._dialect is not None:
            return dialect.TOOLS
        can_list = self._has("tools")
        found = await self._listed("tools/list", "tools", seconds) if can_list else []
        tools = {tool.name: tool for tool in reversed(self._valid("tool", Tool.of, found))}
        self._connection.note_tools(tools.values())
        return (*reversed(tools.values()),)

    async def list_resources(self, seconds: float) -> tuple[Resource, ...]:
        """Return every resource, and after that every template."""
        if not self._has("resources"):
            return ()
        found = await self._optional("resources/list", "resources", seconds)
        found += await self._optional("resources/templates/list", "resourceTemplates", seconds)
        return (*self._valid("resource", Resource.of, found),)

    async def list_prompts(self, seconds: float) -> tuple[Prompt, ...]:
        """Return every prompt."""
        if not self._has("prompts"):
            return ()
        found = await self._optional("prompts/list", "prompts", seconds)
        return (*self._valid("prompt", Prompt.of, found),)

    def _has(self, part: str) -> bool:
        offered = self._offers.get(part)
        return offered is not None and offered is not False

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
        """Return the result of one call; when it is cancelled, the server is told.

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
            with self._errors(tool.name, seconds):
                return await self._dialect.call(tool, arguments, seconds)
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
        """Return the messages of one prompt."""
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
        """Return the answer to a request, as the server spells it; see `call_tool` for errors.

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
        with self._errors(what, seconds):
            answer = await self._ask(method, params, seconds, listener)
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
        seconds: float | None,
        listener: ProgressFnT | None = None,
    ) -> Any:
        """Return the answer to a request; see `Peer.send_raw_request` for what it raises."""
        request = Request[dict[str, Any], str](method=method, params=params)
        try:
            await self._client.send_request(
                request, EmptyResult, seconds, progress_callback=listener
            )
        except Answered as answer:
            return answer.result

    @contextmanager
    def _errors(self, what: str, seconds: float) -> Iterator[None]:
        """Raise errors of ours for a request that fails; `what` names it, `seconds` it had."""
        try:
            yield
        except TimeoutError:
            raise ToolTimeout(self._ref, what, seconds, self._option) from None
        except Unreadable as error:
            raise ToolResultInvalid(self._ref, what, str(error)) from error
        except NoAnswer as error:
            raise ToolError(self._ref, what, str(error)) from error
        except MCPError as error:
            code, data = error.code, error.data
            typed = data.get("type") if isinstance(data, dict) else None
            type_name = typed if isinstance(typed, str) else None
            raise ToolError(
                self._ref, what, error.message, type_name=type_name, code=code, data=data
            ) from error

    # What the server says by itself

    async def _on_log(self, params: LoggingMessageNotificationParams) -> None:
        self._log.message(params.level, params.logger, params.data)

    async def _on_message(self, message: IncomingMessage) -> None:
        if isinstance(message, ToolListChangedNotification):
            await self._renew()

    async def _renew(self) -> None:
        try:
            await self._on_new_tools(self)
        except PluginRegistryError as error:
            text = "keeps the tools that are known, for those that it tells of are not"
            self._log.say(f"{text}: {error}", "warning")
