"""The process of one plugin's server, from its start to the end of its whole group."""

from __future__ import annotations

import signal
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Final

import anyio
import anyio.abc

from dagstack_dev.core.errors.remote import ServerExited
from dagstack_dev.runtimes import process_groups
from dagstack_dev.runtimes.mcp.pipes import PIPE_CLOSED, LineSplitter, Pipes
from dagstack_dev.runtimes.mcp.server_log import shortened

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from dagstack_dev.core.refs import PluginRef
    from dagstack_dev.runtimes.mcp.catalogue import Tool
    from dagstack_dev.runtimes.mcp.server_log import ServerLog

LAST_LINES: Final = 12
"""How many lines of standard error an error quotes."""

_POLL_SECONDS: Final = 0.01
_EOF_SECONDS: Final = 1.0
_TERM_SECONDS: Final = 5.0
_KILL_SECONDS: Final = 1.0
_TELLING_SECONDS: Final = 1.0
"""How long an exit code or the rest of standard error may be in coming."""


class ServerProcess(Pipes):
    """A running server, see `endpoint.Connection`. Made by `start`."""

    def __init__(
        self, ref: PluginRef, process: anyio.abc.Process, command: str, log: ServerLog
    ) -> None:
        assert process.stdin is not None  # noqa: S101 - pipes were asked for
        assert process.stdout is not None  # noqa: S101
        super().__init__(process.stdin, process.stdout, log)
        self._ref = ref
        self._process = process
        self._command = command
        self._last_lines: deque[str] = deque(maxlen=LAST_LINES)
        self._exited = anyio.Event()
        self._said_all = anyio.Event()
        self._is_stopping = False

    @classmethod
    async def start(
        cls,
        ref: PluginRef,
        command: Sequence[str],
        *,
        folder: str,
        env: Mapping[str, str],
        log: ServerLog,
    ) -> ServerProcess:
        """Start a server.

        Args:
            ref: the plugin, for errors.
            command: program and arguments.
            folder: where it runs.
            env: its whole environment.
            log: where its standard error goes.

        Raises:
            ServerExited: the system refuses to run it.
        """
        try:
            process = await anyio.open_process(command, cwd=folder, env=env, start_new_session=True)
        except OSError as error:
            reason = f"{command[0]} cannot be run in {folder}: {error.strerror or error}"
            raise ServerExited(ref, reason, returncode=None) from error
        process_groups.keep(process.pid)
        return cls(ref, process, " ".join(command), log)

    # While it runs

    def note_tools(self, tools: Iterable[Tool]) -> None:
        """Do nothing: nothing depends on them here."""

    async def watch(self) -> None:
        """Raise when it has ended, or cannot be spoken to any more."""
        await self.lost.wait()
        raise await self.why_lost()

    async def note_exit(self) -> None:
        """Wait for its end."""
        await self._process.wait()
        self._exited.set()
        self.lost.set()

    async def log_stderr(self) -> None:
        """Log what it writes to its standard error, until the pipe is closed."""
        assert self._process.stderr is not None  # noqa: S101 - a pipe was asked for
        lines = LineSplitter()
        try:
            while True:
                for line in lines.feed(await self._process.stderr.receive()):
                    self._heard(line)
        except PIPE_CLOSED:
            for line in lines.rest():
                self._heard(line)
        finally:
            self._said_all.set()

    def _heard(self, line: bytes) -> None:
        text = line.decode(errors="replace").rstrip()
        if text:
            self._last_lines.append(shortened(text))
            self._log.say(text)

    def last_words(self) -> tuple[str, ...]:
        """Return the last lines of its standard error."""
        return tuple(self._last_lines)

    async def why_lost(self) -> ServerExited:
        """Return what became of it, as an error; the exit code may take a moment to come."""
        with anyio.move_on_after(_TELLING_SECONDS):
            await self._exited.wait()
            await self._said_all.wait()
        code = self._process.returncode
        if self._is_stopping:
            reason = "its server has been stopped"
        elif code is None:
            reason = "its server has closed its input or output, though its process still runs"
        else:
            reason = f"the process of its server {process_groups.ended(code)}"
        return ServerExited(self._ref, reason, returncode=code, last_words=self.last_words())

    # The end

    async def stop(self, seconds: float) -> None:
        """End it and its whole group.

        Its input is closed, as the protocol has it; then come SIGTERM and SIGKILL.

        Args:
            seconds: how long that may take, about.
        """
        group = self._process.pid
        self._is_stopping = not self.lost.is_set()
        with anyio.CancelScope(shield=True):
            with suppress(*PIPE_CLOSED):
                await self._stdin.aclose()
            with anyio.move_on_after(min(_EOF_SECONDS, seconds / 4)):
                await self._process.wait()
            if process_groups.is_alive(group):
                process_groups.kill(group, signal.SIGTERM)
                if not await _is_gone(group, min(_TERM_SECONDS, seconds / 2)):
                    process_groups.kill(group, signal.SIGKILL)
                    await _is_gone(group, _KILL_SECONDS)
            with anyio.move_on_after(_KILL_SECONDS):
                await self._process.wait()
                await self._said_all.wait()
            process_groups.release(group)
            with anyio.move_on_after(_KILL_SECONDS):
                await self._process.aclose()

    def survivors(self) -> tuple[str, ...]:
        """Return its group, where something of that is still alive."""
        group = self._process.pid
        if not process_groups.is_alive(group):
            return ()
        return (f"process group {group} ({self._command}) is still alive",)


async def _is_gone(group: int, seconds: float) -> bool:
    """Return whether nothing of the group runs any more, after `seconds` at most."""
    with anyio.move_on_after(seconds):
        while process_groups.is_alive(group):
            await anyio.sleep(_POLL_SECONDS)
        return True
    return False
