"""Our half of a JSON-RPC conversation: requests with their ids, and what the server begins.

The official SDK has a client of its own. It drops an answer that is not quite JSON-RPC, holds each
answer against its models, so that one odd tool costs the whole list, and takes a second to import.
"""

from __future__ import annotations

import itertools
import sys
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import TYPE_CHECKING, Any, Final

import anyio

from dagstack_dev.runtimes.mcp.wire import METHOD_NOT_FOUND, ErrorAnswer, number_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator, Mapping

    from dagstack_dev.runtimes.mcp.endpoint import Connection

    Progress = Callable[[float, float | None, str | None], Awaitable[None]]
    """Called with the progress of a call, the total or None, and a message or None."""

CANCELLED: Final = "notifications/cancelled"

_NEVER_CANCELLED: Final = frozenset({"initialize", "server/discover"})

_PROGRESS: Final = ("progressToken", "progress", "total", "message")


class Peer:
    """Asks a server, and answers it.

    Args:
        connection: what messages go over.
        on_notice: called with the method and the parameters of a notification.

    Attributes:
        meta: what every request holds as `_meta`.
    """

    def __init__(
        self,
        connection: Connection,
        on_notice: Callable[[str, Mapping[str, Any]], Coroutine[Any, Any, None]],
    ) -> None:
        self.meta: Mapping[str, Any] = {}
        self._connection = connection
        self._on_notice = on_notice
        self._numbers = itertools.count(1)
        self._open: dict[int, anyio.CancelScope] = {}
        self._progress: dict[int, Progress] = {}
        self._is_over = False

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        """Hear the server within a block, in which alone it can be asked."""
        async with anyio.create_task_group() as self._tasks:
            self._tasks.start_soon(self._listen)
            yield
            self._tasks.cancel_scope.cancel()

    async def ask(
        self,
        method: str,
        params: Mapping[str, Any],
        seconds: float | None = None,
        listener: Progress | None = None,
    ) -> Any:
        """Return the result of a request, however odd. The server learns when it is given up.

        Args:
            method: of the protocol.
            params: of the request; left out where there are none.
            seconds: how long it may take.
            listener: called with its progress.

        Raises:
            ErrorAnswer: the server has answered with an error.
            NoAnswer: it has not answered as a server does.
            PluginRegistryError: the connection is lost.
            PydanticSerializationError: the parameters cannot be sent as JSON.
            TimeoutError: it took too long.
        """
        number = next(self._numbers)
        meta = dict(self.meta)
        if listener is not None:
            meta["progressToken"] = number
            self._progress[number] = listener
        with _traced(f"MCP send {method} {params.get('name', '')}".rstrip(), meta):
            given = {**params, "_meta": meta} if meta else params
            message = {"jsonrpc": "2.0", "id": number, "method": method}
            answer = await self._answer_to(message | ({"params": given} if given else {}), seconds)
        if "error" in answer:
            raise ErrorAnswer(**answer["error"])
        return answer["result"]

    async def _answer_to(self, message: dict[str, Any], seconds: float | None) -> dict[str, Any]:
        number = message["id"]
        try:
            with anyio.move_on_after(seconds) as self._open[number]:
                if not self._is_over:
                    return await self._connection.ask(message)
        except anyio.get_cancelled_exc_class():
            self._cancel(message)
            raise
        finally:
            self._progress.pop(number, None)
            del self._open[number]
        if self._is_over:
            raise await self._connection.why_lost()
        self._cancel(message)
        raise TimeoutError

    def _cancel(self, message: Mapping[str, Any]) -> None:
        if message["method"] not in _NEVER_CANCELLED and not self._is_over:
            reason = "the caller has stopped waiting"
            params = {"requestId": message["id"], "reason": reason}
            self._tasks.start_soon(self.notify, CANCELLED, params)

    async def notify(self, method: str, params: Mapping[str, Any] | None = None) -> None:
        """Send what need not be answered.

        Args:
            method: of the protocol.
            params: of the notification, if it has any.
        """
        more = {} if params is None else {"params": params}
        await self._connection.notify({"jsonrpc": "2.0", "method": method, **more})

    # What the server sends by itself

    async def _listen(self) -> None:
        """Take it until the connection ends, and wake all that wait: they look up why."""
        try:
            await self._connection.listen(self._take)
        finally:
            self._is_over = True
            for scope in self._open.values():
                scope.cancel()

    def _take(self, message: dict[str, Any]) -> None:
        """Deal with a message that is no answer."""
        method, params = message["method"], message.get("params", {})
        if self._is_over:
            return
        if "id" in message:
            self._tasks.start_soon(self._reply, message["id"], method)
        elif method == "notifications/progress":
            self._note_progress(params)
        else:
            self._tasks.start_soon(self._on_notice, method, params)

    async def _reply(self, number: int | str, method: str) -> None:
        """Answer a request: we take part in nothing that a client may refuse."""
        refusal = {"code": METHOD_NOT_FOUND, "message": f"{method} is not supported"}
        answer = {"result": {}} if method == "ping" else {"error": refusal}
        await self._connection.notify({"jsonrpc": "2.0", "id": number, **answer})

    def _note_progress(self, params: Mapping[str, Any]) -> None:
        """Report the progress of a call to its listener."""
        token, progress, total, message = map(params.get, _PROGRESS)
        listener, step = self._progress.get(number_of(token) or 0), _float(progress)
        if listener is None or step is None:
            return

        async def report() -> None:
            with suppress(Exception):  # A listener that fails is no reason to lose the server.
                text = message if isinstance(message, str) else None
                await listener(step, _float(total), text)

        self._tasks.start_soon(report)


@contextmanager
def _traced(name: str, meta: dict[str, Any]) -> Iterator[None]:
    """Hand the trace on in `meta`, and add a span to it, where the app traces at all."""
    if "opentelemetry.trace" not in sys.modules:
        yield
        return
    from opentelemetry import propagate, trace  # noqa: PLC0415 - only where the app has brought it

    tracer = trace.get_tracer("dagstack-dev")
    with tracer.start_as_current_span(name, kind=trace.SpanKind.CLIENT):
        propagate.inject(meta)
        yield


def _float(value: object) -> float | None:
    if not isinstance(value, int | float) or isinstance(value, bool):
        return None
    try:
        return float(value)
    except OverflowError:  # JSON knows no largest integer.
        return None
