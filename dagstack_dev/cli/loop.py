"""The event loop of the command line, which plugin code cannot end."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, NamedTuple

from dagstack_dev.core.blame import plugin_frames
from dagstack_dev.core.errors import in_words, said
from dagstack_dev.host.current import current_plugin

if TYPE_CHECKING:
    from collections.abc import Callable

    from dagstack_dev.core.refs import PluginRef


class Stray(NamedTuple):
    """What plugin code did to the loop, and the exception, if there was one."""

    ref: PluginRef | None
    message: str
    error: BaseException | None


class SturdyLoop(asyncio.SelectorEventLoop):
    """An asyncio loop that goes on where others end.

    asyncio lets a `SystemExit` or `KeyboardInterrupt` of any task or callback end the whole loop,
    and whoever gets hold of the loop may stop it. Here both are told and survived. Whoever awaits
    the task still gets the exception.

    Args:
        on_stray: told, on the loop's thread.
    """

    def __init__(self, on_stray: Callable[[Stray], None]) -> None:
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
        """Whether `error` is not ours; then it has been told."""
        ref = _culprit(error)
        if isinstance(error, RuntimeError) and "loop stopped before" in said(error):
            did = "stopped the event loop"
        elif isinstance(error, SystemExit):
            did = f"called sys.exit({said(error)}) in a task or callback"
        elif isinstance(error, KeyboardInterrupt) or ref is not None or plugin_frames(error):
            did = f"raised {in_words(error)} in a task, a callback or a signal handler"
        else:
            return False
        self._on_stray(Stray(ref, f"{did}; the server goes on", error))
        return True

    def stop(self) -> None:
        """Stop; but not for a plugin."""
        ref = current_plugin.get()
        if ref is not None:
            message = "wanted to stop the event loop, which belongs to the server and goes on"
            self._on_stray(Stray(ref, message, None))
        else:
            super().stop()

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:  # noqa: ARG002, ASYNC109 - asyncio's signature
        """End idle threads; but do not wait for busy ones, and do nothing for a plugin."""
        ref = current_plugin.get()
        if ref is not None:
            message = "wanted to end the threads of the event loop, which others use; they stay"
            self._on_stray(Stray(ref, message, None))
        else:
            self._threads.shutdown(wait=False, cancel_futures=True)


def _culprit(error: BaseException) -> PluginRef | None:
    """The plugin on whose behalf the callback ran that raised `error`."""
    step = error.__traceback__
    while step is not None:
        frame = step.tb_frame
        if frame.f_code is asyncio.Handle._run.__code__:  # noqa: SLF001 - there is no other way
            context = frame.f_locals["self"]._context  # noqa: SLF001 - (the same)
            return context.get(current_plugin)  # type: ignore[no-any-return]
        step = step.tb_next
    return None
