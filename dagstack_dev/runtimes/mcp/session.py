"""One MCP session over a connection, with answers as values and errors as ours."""

from __future__ import annotations

import json
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Final, TypeVar

import anyio
from pydantic_core import PydanticSerializationError

from dagstack_dev.core.errors.base import PluginRegistryError, in_words
from dagstack_dev.core.errors.remote import (
    HandshakeFailed,
    ToolArgumentsInvalid,
    ToolError,
    ToolResultInvalid,
    ToolTimeout,
)
from dagstack_dev.runtimes.mcp import dialect, handshake
from dagstack_dev.runtimes.mcp.catalogue import (
    Prompt,
    Resource,
    Tool,
    ToolAnswer,
    answer_of,
    contents_of,
    error_of,
)
from dagstack_dev.runtimes.mcp.peer import Peer
from dagstack_dev.runtimes.mcp.server_log import shortened
from dagstack_dev.runtimes.mcp.wire import (
    METHOD_NOT_FOUND,
    ErrorAnswer,
    NoAnswer,
    Unreadable,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Mapping
    from contextlib import AbstractAsyncContextManager

    from dagstack_dev.core.refs import PluginRef
    from dagstack_dev.runtimes.mcp.endpoint import Connection
    from dagstack_dev.runtimes.mcp.peer import Progress
    from dagstack_dev.runtimes.mcp.server_log import ServerLog

T = TypeVar("T")

_LISTEN_AGAIN_SECONDS: Final = 1.0
"""How long to wait before a stream of changes that has ended is opened again."""

MOST_PAGES: Final = 1000
"""Pages of a listing that are asked for; a server that never ends one is to be left."""


class Session:
    """Speaks MCP with one server.

    Every method may raise what `Connection.why_lost` returns.

    Args:
        ref: the plugin, for messages.
        connection: what it speaks over.
        log: where the server's notifications go.
        option: what to raise in the manifest when a request takes too long.
        on_new_tools: called when the server says that its tools have changed.

    Attributes:
        agreed: what the server offers, once hands are shaken.
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
        self._peer = Peer(connection, self._on_notice)
        self.agreed = handshake.NONE

    def listening(self) -> AbstractAsyncContextManager[None]:
        """Return the block in which the server is heard, and alone can be asked."""
        return self._peer.listening()

    # Handshake

    async def shake_hands(self) -> None:
        """Agree on what is spoken.

        Raises:
            HandshakeFailed: what comes back is not what an MCP server says.
        """
        try:
            self.agreed = await handshake.shake_hands(self._peer)
        except (ErrorAnswer, NoAnswer) as error:
            reason, last_words = f"the MCP handshake failed: {error}", self._connection.last_words()
            raise HandshakeFailed(self._ref, reason, last_words=last_words) from error
        if self.agreed.version is None:
            self._dialect = dialect.Dialect(self._peer.ask)
            methods = ", ".join(tool.name for tool in dialect.TOOLS)
            text = "speaks the JSON-RPC of dagstack-plugin-system, not MCP; its methods are"
            self._log.say(f"{text} {methods}")

    async def say_goodbye(self, seconds: float) -> None:
        """Ask a server of the dialect to end; others need no goodbye.

        Args:
            seconds: for the whole teardown; a part of them is for this.
        """
        if self._dialect is not None:
            with suppress(ErrorAnswer, NoAnswer, TimeoutError, PluginRegistryError):
                await self._dialect.shut_down(seconds)

    async def subscribe(self) -> None:
        """Listen until the server is gone, or says that it announces nothing.

        A request that is answered has ended, so it is made again, and what may have been missed
        is looked up. That the connection is lost, its `watch` says.
        """
        wanted = {"notifications": {"toolsListChanged": True}}
        while True:
            try:
                await self._peer.ask("subscriptions/listen", wanted)
            except ErrorAnswer as error:
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
        can_list = self.agreed.has("tools")
        found = await self._listed("tools/list", "tools", seconds) if can_list else []
        tools: dict[str, Tool] = {}
        for tool in self._valid("tool", Tool.of, found):
            tools.setdefault(tool.name, tool)
        self._connection.note_tools(tools.values())
        return (*tools.values(),)

    async def list_resources(self, seconds: float) -> tuple[Resource, ...]:
        """Return every resource, and after that every template."""
        if not self.agreed.has("resources"):
            return ()
        found = await self._optional("resources/list", "resources", seconds)
        found += await self._optional("resources/templates/list", "resourceTemplates", seconds)
        return (*self._valid("resource", Resource.of, found),)

    async def list_prompts(self, seconds: float) -> tuple[Prompt, ...]:
        """Return every prompt."""
        if not self.agreed.has("prompts"):
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
    ) -> ToolAnswer:
        """Return the answer to one call; when it is cancelled, so it is at the server.

        Args:
            tool: one of the server's.
            arguments: valid ones.
            seconds: how long it may take.
            listener: called with its progress, which is logged by default.

        Raises:
            ToolError: the server reports a failure.
            ToolTimeout: it took too long.
            ToolResultInvalid: its result does not match its own schema.
        """

        async def report(progress: float, total: float | None, message: str | None) -> None:
            if listener is None:
                of = "" if total is None else f" of {total:g}"
                said = f": {message}" if message else ""
                self._log.say(f"{tool.name}: {progress:g}{of}{said}")
            else:
                await listener(progress, total, message)

        if self._dialect is not None:
            with self._errors(tool.name, seconds):
                return ToolAnswer(await self._dialect.call(tool, arguments, seconds))
        params = {"name": tool.name, "arguments": arguments}
        said = await self._asked(tool.name, "tools/call", params, seconds, report)
        if said.get("isError") is True:
            raise error_of(self._ref, tool.name, said)
        return answer_of(self._ref, said, tool)

    async def read_resource(
        self, uri: str, seconds: float
    ) -> list[tuple[Mapping[str, Any], str | bytes]]:
        """Return its parts as the protocol has them, each with its text or bytes.

        Args:
            uri: of the resource.
            seconds: how long it may take.
        """
        what = f"reading {uri}"
        answer = await self._asked(what, "resources/read", {"uri": uri}, seconds)
        return contents_of(self._ref, what, answer)

    async def get_prompt(self, name: str, arguments: dict[str, str], seconds: float) -> Any:
        """Return the messages of one prompt.

        Args:
            name: of the prompt.
            arguments: by name.
            seconds: how long it may take.
        """
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
        listener: Progress | None = None,
    ) -> dict[str, Any]:
        """Return the answer to a request, as the server spells it; see `call_tool` for errors.

        Args:
            what: for messages, the tool's name or what else it is.
            method: of the protocol.
            params: of the request.
            seconds: how long it may take.
            listener: called with its progress.
        """
        with self._errors(what, seconds):
            answer = await self._peer.ask(method, params, seconds, listener)
        if not isinstance(answer, dict):
            given = shortened(json.dumps(answer, ensure_ascii=False))
            raise ToolResultInvalid(self._ref, what, f"the result is {given} and no object")
        if answer.get("resultType") == "input_required":
            raise ToolError(self._ref, what, "the server asks for input, which is not supported")
        return answer

    @contextmanager
    def _errors(self, what: str, seconds: float) -> Iterator[None]:
        """Raise errors of ours for a request that fails; `what` names it, `seconds` it had."""
        try:
            yield
        except TimeoutError:
            raise ToolTimeout(self._ref, what, seconds, self._option) from None
        except PydanticSerializationError as error:
            reason = f"cannot be sent as JSON: {error}"
            raise ToolArgumentsInvalid(self._ref, what, "", reason) from error
        except Unreadable as error:
            raise ToolResultInvalid(self._ref, what, str(error)) from None
        except NoAnswer as error:
            raise ToolError(self._ref, what, str(error)) from None
        except ErrorAnswer as error:
            code, data = error.code, error.data
            typed = data.get("type") if isinstance(data, dict) else None
            type_name = typed if isinstance(typed, str) else None
            raise ToolError(
                self._ref, what, error.message, type_name=type_name, code=code, data=data
            ) from None

    # What the server says by itself

    async def _on_notice(self, method: str, params: Mapping[str, Any]) -> None:
        if method == "notifications/message" and "data" in params:
            self._log.message(params.get("level"), params.get("logger"), params.get("data"))
        elif method == "notifications/tools/list_changed":
            await self._renew()

    async def _renew(self) -> None:
        try:
            await self._on_new_tools(self)
        except Exception as error:  # noqa: BLE001 - odd news are no reason to lose the server
            text = "keeps the tools that are known, for its new ones are not"
            self._log.say(f"{text}: {in_words(error)}", "warning")
