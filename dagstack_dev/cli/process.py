"""What belongs to the whole process, kept from plugins: Ctrl-C, the event loop, its identity."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import anyio

from dagstack_dev.cli.leftovers import PATIENCE_SECONDS
from dagstack_dev.cli.output import say
from dagstack_dev.cli.signals import answer
from dagstack_dev.core.blame import plugin_frames
from dagstack_dev.core.errors.base import in_words, said
from dagstack_dev.core.events import PluginOverstepped
from dagstack_dev.host.calls.current import current_plugin

if TYPE_CHECKING:
    from collections.abc import Callable

    from dagstack_dev.cli.signals import Ending
    from dagstack_dev.core.refs import PluginRef
    from dagstack_dev.host.registry.registry import Registry


class GuardedLoop(asyncio.SelectorEventLoop):
    """An asyncio loop that goes on where others end.

    asyncio lets a `SystemExit` or `KeyboardInterrupt` of any task or callback end the whole loop,
    and code that has the loop may stop it. Here both are reported and survived. What awaits the
    task still gets the exception.

    Args:
        on_stray: called on the loop's thread with what plugin code did to it: the plugin, if that
            is known, a message, and the exception, if there was one.
    """

    def __init__(
        self, on_stray: Callable[[PluginRef | None, str, BaseException | None], None]
    ) -> None:
        super().__init__()
        self._on_stray = on_stray
        self._threads = ThreadPoolExecutor(thread_name_prefix="asyncio")
        self.set_default_executor(self._threads)

    def run_until_complete(self, future: Any) -> Any:
        """Run until `future` is done, whatever else happens."""
        if self.is_running():
            return super().run_until_complete(future)  # It says why not.
        main = asyncio.ensure_future(future, loop=self)
        while True:
            try:
                return super().run_until_complete(main)
            except BaseException as error:
                if main.done() or self.is_closed() or not self._survives(error):
                    raise

    def _survives(self, error: BaseException) -> bool:
        """Report `error` if it is a plugin's, and return whether it is."""
        ref = _culprit(error)
        if isinstance(error, RuntimeError) and "loop stopped before" in said(error):
            did = "stopped the event loop"
        elif isinstance(error, SystemExit):
            did = f"called sys.exit({said(error)}) in a task or callback"
        elif isinstance(error, KeyboardInterrupt) or ref is not None or plugin_frames(error):
            did = f"raised {in_words(error)} in a task, a callback or a signal handler"
        else:
            return False
        self._on_stray(ref, f"{did}; the server goes on", error)
        return True

    def stop(self) -> None:
        """Stop; but not for a plugin."""
        if not self._refuses("stop the event loop, which belongs to the server and goes on"):
            super().stop()

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:  # noqa: ARG002, ASYNC109 - asyncio's signature
        """End idle threads; but do not wait for busy ones, and do nothing for a plugin."""
        if not self._refuses("end the threads of the event loop, which others use; they stay"):
            self._threads.shutdown(wait=False, cancel_futures=True)

    def _refuses(self, what: str) -> bool:
        """Report it if a plugin wants that, and return whether one does."""
        ref = current_plugin.get()
        if ref is not None:
            self._on_stray(ref, f"wanted to {what}", None)
        return ref is not None


def _culprit(error: BaseException) -> PluginRef | None:
    """Return the plugin on whose behalf the callback ran that raised `error`."""
    step = error.__traceback__
    while step is not None:
        frame = step.tb_frame
        if frame.f_code is asyncio.Handle._run.__code__:  # noqa: SLF001 - there is no other way
            context = frame.f_locals["self"]._context  # noqa: SLF001 - (the same)
            return context.get(current_plugin)  # type: ignore[no-any-return]
        step = step.tb_next
    return None


class ProcessGuard:
    """Reports plugin code that breaks the rules of the process, and takes back what it took.

    Args:
        registry: whose observers get the reports.
        ending: answers Ctrl-C.
    """

    def __init__(self, registry: Registry, ending: Ending) -> None:
        self.ending = ending
        self._registry = registry
        self._loop: GuardedLoop | None = None

    def make_loop(self) -> GuardedLoop:
        """Make the event loop to run in, and keep alarms from ending the process."""
        self._loop = GuardedLoop(self._on_stray)
        os.register_at_fork(after_in_child=self._on_fork)
        if signal.getsignal(signal.SIGALRM) is signal.SIG_DFL:
            answer(signal.SIGALRM, self._on_alarm)
        self._break_into_what_blocks()
        return self._loop

    def _break_into_what_blocks(self) -> None:
        """Let the watchdog end a plain method that blocks the loop for longer than it may.

        A handler that raises ends most of what waits in the system, such as a sleep, and any
        Python code. The signal is one that does nothing when no handler is there any more.
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
            self._report(
                self._registry.table.code.plugin_at(path) if path else None, message, path, line
            )

    def _on_stray(self, ref: PluginRef | None, message: str, error: BaseException | None) -> None:
        if isinstance(error, KeyboardInterrupt) and not self.ending.answers_ctrl_c:
            self.ending.ask()  # It is the user's: a plugin has restored Python's own handler.
            return
        frames = plugin_frames(error) if error is not None else ()
        path, line = (frames[-1].path, frames[-1].line) if frames else (None, None)
        owners = (self._registry.table.code.plugin_at(frame.path) for frame in reversed(frames))
        self._report(ref or next(filter(None, owners), None), message, path, line)

    def _on_alarm(self, *_: Any) -> None:
        message = "set an alarm that nothing handles; the server goes on"
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._report, None, message, None, None)

    def _report(
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
