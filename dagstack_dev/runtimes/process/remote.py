"""The app's side of one plugin's process: calls go there, answers and logs come back."""

from __future__ import annotations

import itertools
import threading
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import anyio
import anyio.from_thread
import anyio.lowlevel
import anyio.to_thread
from anyio.abc import SocketStream

from dagstack_dev.core.errors.base import PluginRegistryError, add_note
from dagstack_dev.core.errors.calls import PluginUnavailable
from dagstack_dev.core.errors.remote import NotTransferable, ProcessDied
from dagstack_dev.runtimes.process.child import Child
from dagstack_dev.runtimes.process.logs import log_here
from dagstack_dev.runtimes.process.start_request import start_request
from dagstack_dev.runtimes.process.transfer import (
    ContextArgument,
    Decoder,
    Kind,
    Message,
    encode,
    pack,
    unpack,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Mapping

    from dagstack_dev.core.ports import OwningContext
    from dagstack_dev.core.sources import SourceFile
    from dagstack_dev.runtimes.code import CodeFile
    from dagstack_dev.runtimes.in_process.plugin_code import InProcessCode
    from dagstack_dev.runtimes.process.transfer import Method

_CHUNK: Final = 1 << 18
ABANDON_SECONDS: Final = 2.0
"""How long a cancelled call waits for the method to end; one that hangs keeps no caller."""

_LIFE: Final = 0
"""The number under which the start and the stop are answered; calls count from 1."""


class _Answer:
    """What comes back for one call, once `arrived` is set: a message, or why there is none."""

    def __init__(self, what: str) -> None:
        self.what = what
        self.arrived = anyio.Event()
        self.message: Message | BaseException | None = None


class Remote:
    """One plugin in one process, from its setup to its teardown.

    Args:
        code: what runs there.
        worker: see `Child`.
        on_imports: called with what of shared code the plugin has imported there: files by
            module, and modules that were missing; and files of its folder that are not in `code`,
            None for one that is not there.

    Attributes:
        ref: the plugin.
        child: the process, once there is one.
    """

    def __init__(
        self,
        code: InProcessCode,
        worker: str,
        on_imports: Callable[
            [Mapping[str, CodeFile], Iterable[str], Mapping[str, SourceFile | None]], None
        ],
    ) -> None:
        self.ref = code.manifest.ref
        self.child: Child | None = None
        self._code = code
        self._worker = worker
        self._on_imports = on_imports
        self._context: OwningContext | None = None
        self._stream: SocketStream | None = None
        self._answers: dict[int, _Answer] = {}
        self._numbers = itertools.count(1)
        self._sending = anyio.Lock()
        self._home = 0
        self._token: anyio.lowlevel.EventLoopToken | None = None
        self._over = False
        self._ending: str | None = None
        self._is_stopping = False
        self.held_seconds = 0.0

    # Its life

    async def start(self, context: OwningContext) -> tuple[Method, ...]:
        """Start the process, have the plugin set up there, and learn which methods it has.

        Args:
            context: that of the plugin in the app; what it owns ends with it.

        Raises:
            NotTransferable: something that it is to be given cannot go there.
            ProcessDied: the process ended meanwhile.
            Exception: what was raised there: `PluginLoadError`, or what its setup raised.
        """
        request = pack(start_request(self._code, context), ref=self.ref, what="what it is to run")
        self._context = context
        self._home, self._token = threading.get_ident(), anyio.lowlevel.current_token()
        self._stream = await context.enter_async(self._process())
        context.start_soon(self._listen, name=f"process of {self.ref}")
        assert self.child is not None  # noqa: S101 - it is at the other end of the stream
        context.start_soon(self.child.close_when_ended, name=f"end of the process of {self.ref}")
        answer = await self._ask(Kind.START, request, number=_LIFE, what="its description")
        found = self._unpack(answer.payload, "its description")
        if answer.kind is Kind.FAILED:
            self._end(*found)
        methods: tuple[Method, ...] = found
        return methods

    async def stop(self) -> None:
        """Have the plugin torn down there.

        Raises:
            Exception: what was raised there first; what came after that is in its notes.
        """
        if self._over or self._stream is None:
            return
        answer = await self._ask(Kind.STOP, b"", number=_LIFE, what="its teardown")
        self._over = True
        self._end(*self._unpack(answer.payload, "its teardown"))

    def _end(self, errors: list[BaseException], carry: Mapping[str, bytes]) -> None:
        """Take what the plugin carries, and raise what was raised there."""
        try:
            self._take_carry(carry)
        except NotTransferable as error:
            errors.append(error)
        if errors:
            for other in errors[1:]:
                add_note(errors[0], f"also: {type(other).__name__}: {other}")
            raise errors[0]

    def holdups(self) -> tuple[str, ...]:
        """Calls that are under way while the process is too busy to hear of the stop."""
        calls = (each.what for number, each in self._answers.items() if number != _LIFE)
        return () if self._is_stopping else tuple(dict.fromkeys(f"{name}()" for name in calls))

    @asynccontextmanager
    async def _process(self) -> AsyncIterator[SocketStream]:
        child = self.child = Child(self.ref, self._worker)
        stream: SocketStream | None = None
        try:
            stream = await SocketStream.from_socket(child.socket)
            yield stream
        finally:
            asked, self._over = self._over, True
            await child.end(asked=asked)
            with anyio.CancelScope(shield=True):
                if stream is not None:
                    await stream.aclose()
            child.socket.close()
            self._give_up(
                lambda: PluginUnavailable(self.ref, "it was torn down before the call had ended")
            )
            self._context = self._stream = None

    # Calls

    async def call(self, name: str, args: tuple[object, ...], kwargs: dict[str, object]) -> Any:
        """Call a method there; the answer is what it returns.

        When the caller is cancelled, an `async def` there is cancelled too, and the call ends
        when it has ended there, or after `ABANDON_SECONDS`: a method may hang.

        Args:
            name: the method.
            args: its arguments; a context among them goes as a `ContextArgument`.
            kwargs: those that are given by name, likewise.

        Raises:
            NotTransferable: an argument or the result cannot be pickled.
            ProcessDied: the process ended meanwhile.
            Exception: what the method raised.
        """
        if self._over or self._stream is None:
            raise self._died()
        what = f"an argument of {name}()"
        sent = tuple(map(self._argument, args)), {k: self._argument(v) for k, v in kwargs.items()}
        payload = pack((name, *sent), ref=self.ref, what=what)
        number = next(self._numbers)
        ask = partial(self._ask, Kind.CALL, payload, number=number, what=name)
        if threading.get_ident() == self._home:
            answer = await ask()
        else:  # Another loop, which our stream cannot wake.
            ask_there = partial(anyio.from_thread.run, ask, token=self._token)
            answer = await anyio.to_thread.run_sync(ask_there)
        result = self._unpack(answer.payload, f"what {name}() returns")
        if answer.kind is Kind.ERROR:
            raise result
        return result

    def _argument(self, value: object) -> object:
        if self._context is not None and isinstance(value, type(self._context)):
            return ContextArgument(dict(value.metadata))
        return value

    async def _ask(self, kind: Kind, payload: bytes, *, number: int, what: str) -> Message:
        answer = self._answers[number] = _Answer(what)
        try:
            await self._send(encode(kind, payload, call=number))
            await answer.arrived.wait()
        except anyio.get_cancelled_exc_class():
            if kind is Kind.CALL:
                with anyio.move_on_after(ABANDON_SECONDS, shield=True):
                    await self._send(encode(Kind.CANCEL, call=number))
                    await answer.arrived.wait()
            raise
        if isinstance(answer.message, BaseException):
            raise answer.message
        assert answer.message is not None  # noqa: S101 - it has arrived
        return answer.message

    async def _send(self, data: bytes) -> None:
        """Send a message whole, even when cancelled; `_listen` notices a process that is gone."""
        assert self._stream is not None  # noqa: S101 - set by start
        with anyio.CancelScope(shield=True):
            async with self._sending:
                try:
                    await self._stream.send(data)
                except (anyio.BrokenResourceError, anyio.ClosedResourceError):
                    return

    def _unpack(self, data: bytes, what: str) -> Any:
        return unpack(data, ref=self.ref, what=what)

    # What comes back

    async def _listen(self) -> None:
        """Deal with everything that the process sends, to its end."""
        assert self._stream is not None  # noqa: S101 - set by start
        decoder = Decoder()
        try:
            while True:
                for message in decoder.feed(await self._stream.receive(_CHUNK)):
                    self._take(message)
        except (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError):
            pass
        if self._over:
            return
        self._over = True
        assert self.child is not None  # noqa: S101 - it has been at the other end
        self._ending = await self.child.ending()
        self._give_up(self._died)
        raise self._died()

    def _died(self) -> PluginRegistryError:
        """Return one error for each caller: an exception keeps the frames it was raised in."""
        if self._ending is None:
            return PluginUnavailable(self.ref, "its process has ended")
        return ProcessDied(self.ref, self._ending)

    def _take(self, message: Message) -> None:
        match message.kind:
            case Kind.RESULT | Kind.ERROR | Kind.READY | Kind.FAILED | Kind.STOPPED:
                self._over = self._over or message.kind is Kind.FAILED
                self._resolve(message.call, message)
            case Kind.CRASHED:
                if self._context is not None:
                    error = self._unpack(message.payload, "an exception")
                    self._context.start_soon(_raise, error)
            case Kind.LOG if self._context is not None:
                context = self._context
                progress = getattr(context, "progress", None)
                log_here(message.payload, context.logger, progress, self.ref)
            case Kind.HELD:
                self.held_seconds = self._unpack(message.payload, "a time")
            case Kind.STOPPING:
                self._is_stopping = True
            case Kind.IMPORTED:
                self._on_imports(*self._unpack(message.payload, "the names of modules"))
            case _:
                pass

    def _resolve(self, number: int, message: Message | BaseException) -> None:
        answer = self._answers.pop(number, None)
        if answer is not None:
            answer.message = message
            answer.arrived.set()

    def _give_up(self, make_error: Callable[[], BaseException]) -> None:
        for number in list(self._answers):
            self._resolve(number, make_error())

    def _take_carry(self, carry: Mapping[str, bytes]) -> None:
        if self._context is None:
            return
        kept = {
            key: unpack(value, ref=self.ref, what=f"ctx.carry[{key!r}]")
            for key, value in carry.items()
        }
        self._context.carry.clear()
        self._context.carry.update(kept)


async def _raise(error: BaseException) -> None:
    raise error
