"""Our half of a JSON-RPC conversation, between the SDK's session and a connection.

The SDK has one of its own, which drops an answer that is not quite JSON-RPC, and holds each against
its models: a listing of a hundred tools would fail for one that is not quite right. This one hands
answers on as servers spell them.

Imports the SDK, and so is imported only by the setup of an MCP plugin.
"""

from __future__ import annotations

import itertools
from contextlib import suppress
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Final

import anyio
from mcp.shared.dispatcher import Dispatcher
from mcp.shared.exceptions import MCPError
from mcp.shared.jsonrpc_dispatcher import handler_exception_to_error_data
from mcp.shared.transport_context import TransportContext
from mcp.types import INTERNAL_ERROR
from opentelemetry import propagate, trace

from dagstack_dev.runtimes.mcp.wire import number_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from anyio.abc import TaskStatus
    from mcp.shared.dispatcher import CallOptions, OnNotify, OnNotifyIntercept, OnRequest

    from dagstack_dev.runtimes.mcp.endpoint import Connection

_TRACER: Final = trace.get_tracer("dagstack-dev")

CANCELLED: Final = "notifications/cancelled"

_PROGRESS: Final = ("progressToken", "progress", "total", "message")


class Answered(Exception):
    """Takes an answer past the SDK to who has asked.

    Attributes:
        result: what the server has answered with, which need not be an object.
    """

    def __init__(self, result: Any) -> None:
        super().__init__()
        self.result = result


class Peer(Dispatcher[TransportContext]):
    """Asks a server, and answers it.

    Args:
        connection: what messages go over.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._numbers = itertools.count(1)
        self._open: dict[int, anyio.CancelScope] = {}
        self._progress: dict[int, Any] = {}
        self._is_over = False

    async def send_raw_request(
        self, method: str, params: Mapping[str, Any] | None, opts: CallOptions | None = None
    ) -> dict[str, Any]:
        """Send a request. The server is told when it is not waited for any longer.

        Only the answer to `server/discover` is returned, for the SDK needs that.

        Raises:
            Answered: this is the answer.
            MCPError: the server has answered with an error.
            NoAnswer: it has not answered as a server does.
            PluginRegistryError: the connection is lost.
            TimeoutError: it took longer than `opts` say.
        """
        options = opts or {}
        number = next(self._numbers)
        given = dict(params or {})
        meta = dict(given.pop("_meta", {}))
        if "on_progress" in options:
            meta["progressToken"] = number
            self._progress[number] = options["on_progress"]
        name = f"MCP send {method} {given.get('name', '')}".rstrip()
        with _TRACER.start_as_current_span(name, kind=trace.SpanKind.CLIENT):
            propagate.inject(meta)
            message: dict[str, Any] = {"jsonrpc": "2.0", "id": number, "method": method}
            if given or meta:
                message["params"] = given | ({"_meta": meta} if meta else {})
            answer = await self._answer_to(message, options)
        if "error" in answer:
            error = answer["error"]
            raise MCPError(error["code"], error["message"], error["data"])
        if method == "server/discover" and isinstance(answer["result"], dict):
            return answer["result"]
        raise Answered(answer["result"])

    async def _answer_to(self, message: dict[str, Any], options: CallOptions) -> dict[str, Any]:
        number = message["id"]
        is_waited_for = True
        try:
            with anyio.move_on_after(options.get("timeout")) as scope:
                self._open[number] = scope
                if not self._is_over:
                    answer = await self._connection.ask(message, options.get("headers", {}))
                    is_waited_for = False
                    return answer
            if self._is_over:
                raise await self._connection.why_lost()
            raise TimeoutError
        finally:
            self._open.pop(number, None)
            self._progress.pop(number, None)
            if is_waited_for and options.get("cancel_on_abandon", True) and not self._is_over:
                params = {"requestId": number, "reason": "the caller has stopped waiting"}
                self._tasks.start_soon(self.notify, CANCELLED, params)

    async def notify(
        self,
        method: str,
        params: Mapping[str, Any] | None,
        opts: CallOptions | None = None,
    ) -> None:
        """Send what need not be answered."""
        more = {} if params is None else {"params": dict(params)}
        headers = (opts or {}).get("headers", {})
        await self._connection.tell({"jsonrpc": "2.0", "method": method, **more}, headers)

    async def run(
        self,
        on_request: OnRequest,
        on_notify: OnNotify,
        on_notify_intercept: OnNotifyIntercept | None = None,  # noqa: ARG002 - for what we do not use
        *,
        task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED,
    ) -> None:
        """Take what the server says by itself, until the connection ends."""
        self._on_request, self._on_notify = on_request, on_notify
        try:
            async with anyio.create_task_group() as self._tasks:
                task_status.started()
                await self._connection.listen(self._take)
                self._end()
        finally:
            self._end()

    def _end(self) -> None:
        """Wake all who wait: they look up why it is over."""
        self._is_over = True
        for scope in self._open.values():
            scope.cancel()

    def _take(self, message: dict[str, Any]) -> None:
        """Deal with a message that is no answer."""
        method, params = message["method"], message.get("params")
        if self._is_over:
            return
        if "id" in message:
            self._tasks.start_soon(self._reply, message["id"], method, params)
        elif method == "notifications/progress":
            self._note_progress(params or {})
        else:
            self._tasks.start_soon(self._notice, method, params)

    async def _notice(self, method: str, params: Any) -> None:
        await self._on_notify(_context(None), method, params)

    async def _reply(self, number: int | str, method: str, params: Any) -> None:
        answer: dict[str, Any] = {"jsonrpc": "2.0", "id": number}
        try:
            answer["result"] = await self._on_request(_context(number), method, params)
        except Exception as raised:  # noqa: BLE001 - the server is told
            error = handler_exception_to_error_data(raised)
            told = {"code": INTERNAL_ERROR, "message": str(raised)}
            answer["error"] = told if error is None else error.model_dump(exclude_none=True)
        await self._connection.tell(answer, {})

    def _note_progress(self, params: dict[str, Any]) -> None:
        """Hand on the progress of a call to who listens."""
        token, progress, total, message = map(params.get, _PROGRESS)
        listener, step = self._progress.get(number_of(token) or 0), _float(progress)
        if listener is None or step is None:
            return

        async def report() -> None:
            with suppress(Exception):  # A listener that fails is no reason to lose the server.
                text = message if isinstance(message, str) else None
                await listener(step, _float(total), text)

        self._tasks.start_soon(report)


def _context(number: int | str | None) -> Any:
    """Return what of the SDK's context of a message its session reads."""
    return SimpleNamespace(request_id=number)


def _float(value: object) -> float | None:
    if not isinstance(value, int | float) or isinstance(value, bool):
        return None
    try:
        return float(value)
    except OverflowError:  # JSON knows no largest integer.
        return None
