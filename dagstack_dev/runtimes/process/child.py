"""A plugin's process: how it is started, and how it is made to end."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

import anyio

from dagstack_dev.runtimes import process_groups

if TYPE_CHECKING:
    from dagstack_dev.core.refs import PluginRef

_SOURCE: Final = (
    "import sys; sys.path.insert(0, sys.argv[1]); "
    "from importlib import import_module; import_module(sys.argv[2]).main(int(sys.argv[3]))"
)
"""What the process runs: never the program that the app is."""

_PYTHON: Final = (sys.executable, "-X", "faulthandler", "-c")
"""It says at which line native code has crashed."""

_HOME: Final = str(Path(__file__).parents[3])

_ASKED_SECONDS: Final = 2.0
_TERM_SECONDS: Final = 1.0
_LOOK_SECONDS: Final = 0.005
_POLL_SECONDS: Final = 0.1
"""How often to look whether it has ended, which its connection may not show."""


class Child:
    """One process, in a session and process group of its own.

    It notices that we are gone by the end of the connection, and ends.

    Args:
        ref: the plugin, to be seen in lists of processes.
        worker: the module whose `main` is called there with the descriptor of the connection.

    Attributes:
        socket: our end of the connection; whatever takes it closes it.
    """

    def __init__(self, ref: PluginRef, worker: str) -> None:
        self.socket, theirs = socket.socketpair()
        with theirs:
            try:
                self._process = subprocess.Popen(  # noqa: S603 - our own program
                    [*_PYTHON, _SOURCE, _HOME, worker, str(theirs.fileno()), str(ref)],
                    stdin=subprocess.DEVNULL,
                    stdout=_descriptor_of(sys.stdout, 1),
                    stderr=_descriptor_of(sys.stderr, 2),
                    pass_fds=[theirs.fileno()],
                    start_new_session=True,
                )
            except BaseException:
                self.socket.close()
                raise

    @property
    def pid(self) -> int:
        """Its process id, which is that of its group."""
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """Whether it has not ended yet."""
        return self._process.poll() is None

    async def close_when_ended(self) -> None:
        """Wait for its end, then end the connection: a child of it may hold the other side open.

        What it has sent before can still be received.
        """
        while self.is_running:
            await anyio.sleep(_POLL_SECONDS)
        with suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)

    async def ending(self) -> str:
        """Return how it has ended, or is about to end, in words."""
        await self._ends_within(_TERM_SECONDS)
        code = self._process.poll()
        return (
            "has closed its connection, and runs on" if code is None else process_groups.ended(code)
        )

    async def end(self, *, asked: bool) -> None:
        """Make it end: by itself if it was `asked` to, by SIGTERM, by SIGKILL; then its group.

        The plugin may have started processes itself.
        """
        try:
            with anyio.CancelScope(shield=True):
                if not (asked and await self._ends_within(_ASKED_SECONDS)):
                    process_groups.kill(self.pid, signal.SIGTERM)
                    await self._ends_within(_TERM_SECONDS)
        finally:
            process_groups.kill(self.pid, signal.SIGKILL)
            self._process.wait()

    async def _ends_within(self, seconds: float) -> bool:
        with anyio.move_on_after(seconds):
            while self.is_running:
                await anyio.sleep(_LOOK_SECONDS)
        return not self.is_running


def _descriptor_of(stream: object, default: int) -> int:
    """Return where what plugins print in this process goes, `default` when that is unknown."""
    try:
        descriptor = stream.fileno()  # type: ignore[attr-defined]  # any object may be there
        os.fstat(descriptor)
    except (AttributeError, OSError, ValueError):
        return default
    return int(descriptor)
