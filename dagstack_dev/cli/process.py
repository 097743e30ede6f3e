"""What belongs to the whole process, kept from plugins: Ctrl-C, the event loop, its identity."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import anyio

from dagstack_dev.cli.leftovers import PATIENCE_SECONDS
from dagstack_dev.cli.loop import Stray, SturdyLoop
from dagstack_dev.cli.output import say
from dagstack_dev.cli.signals import answer
from dagstack_dev.core.blame import plugin_frames
from dagstack_dev.core.events import PluginOverstepped

if TYPE_CHECKING:
    from dagstack_dev.cli.signals import Ending
    from dagstack_dev.core.refs import PluginRef
    from dagstack_dev.host.registry import Registry


class Process:
    """Tells of plugin code that oversteps, and takes back what it took.

    Args:
        registry: whose observers are told.
        ending: answers Ctrl-C.
    """

    def __init__(self, registry: Registry, ending: Ending) -> None:
        self.ending = ending
        self._registry = registry
        self._loop: SturdyLoop | None = None

    def make_loop(self) -> SturdyLoop:
        """The event loop to run in; an alarm that no plugin handles does not end the process."""
        self._loop = SturdyLoop(self._on_stray)
        os.register_at_fork(after_in_child=self._on_fork)
        if signal.getsignal(signal.SIGALRM) is signal.SIG_DFL:
            answer(signal.SIGALRM, self._on_alarm)
        self._break_into_what_blocks()
        return self._loop

    def _break_into_what_blocks(self) -> None:
        """Let the watchdog end a plain method that blocks the loop for longer than it may.

        A handler that raises ends most of what waits in the system, such as a sleep, and any
        Python code. The signal is one that nobody minds when no handler is there any more.
        """
        watchdog, thread = self._registry.table.watchdog, threading.get_ident()
        answer(signal.SIGURG, lambda _, frame: watchdog.break_off(frame))
        watchdog.interrupt = lambda: signal.pthread_kill(thread, signal.SIGURG)

    def keep_signals(self) -> None:
        """Answer Ctrl-C again, should a plugin have put in a handler of its own."""
        for number, found in self.ending.take_back():
            path, line = _place_of(found)
            if path is not None and path.endswith("/pdb.py"):
                continue  # As `continue` at its prompt does.
            message = f"replaced the handler of {number.name}; the server has taken it back"
            self._tell(self._registry.table.plugin_at(path) if path else None, message, path, line)

    def _on_stray(self, stray: Stray) -> None:
        if isinstance(stray.error, KeyboardInterrupt) and not self.ending.answers_ctrl_c:
            self.ending.ask()  # It is the user's: a plugin has restored Python's own handler.
            return
        frames = plugin_frames(stray.error) if stray.error is not None else ()
        path, line = (frames[-1].path, frames[-1].line) if frames else (None, None)
        owners = (self._registry.table.plugin_at(frame.path) for frame in reversed(frames))
        ref = stray.ref or next(filter(None, owners), None)
        self._tell(ref, stray.message, path, line)

    def _on_alarm(self, *_: Any) -> None:
        message = "set an alarm that nothing handles; the server goes on"
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._tell, None, message, None, None)

    def _tell(
        self, ref: PluginRef | None, message: str, path: str | None, line: int | None
    ) -> None:
        fact = PluginOverstepped(ref=ref, message=message, path=path, line=line)
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._registry.table.publish, fact)

    def _on_fork(self) -> None:
        global _forked  # noqa: PLW0603 - it is about the process
        _forked = True
        if self._loop is not None:
            with suppress(RuntimeError):  # It is closed.
                self._loop.call_soon_threadsafe(end_if_forked)


_forked = False
"""Whether this process is a copy that plugin code has made with `os.fork`."""


def end_if_forked() -> None:
    """End a copy of the process that comes back here: there must not be two servers."""
    if _forked:
        say(
            "a child process that plugin code forked came back into the server and was ended; "
            "end it with os._exit, or use subprocess"
        )
        os._exit(1)


def _place_of(handler: object) -> tuple[str | None, int | None]:
    code = getattr(getattr(handler, "__func__", handler), "__code__", None)
    return (code.co_filename, code.co_firstlineno) if code is not None else (None, None)


async def end_tasks() -> list[str]:
    """Cancel every task but this one; those that go on all the same, by name."""
    left = asyncio.all_tasks() - {asyncio.current_task()}
    for task in left:
        task.cancel()
    if left:
        with anyio.CancelScope(shield=True):
            await asyncio.wait(left, timeout=PATIENCE_SECONDS)
    return [_named(task) for task in left if not task.done()]


def _named(task: asyncio.Task[object]) -> str:
    coroutine = task.get_coro()
    return f"task {getattr(coroutine, '__qualname__', None) or task.get_name()}"
