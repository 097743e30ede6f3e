"""A real `dagstack-dev watch` process, whose output is what a test waits for."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pty
import queue
import re
import shutil
import signal
import struct
import subprocess
import sys
import termios
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

GUARD_SECONDS = 60.0
"""Only against hanging: how long a line of output is waited for."""

CHECKOUT = {"PYTHONPATH": str(Path(__file__).parents[2])}
"""What a process needs to run the code under test, installed or not."""

_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b]8;[^\x1b]*\x1b\\")

Event = dict[str, Any]


def inherited() -> dict[str, str]:
    """The environment of the test run, without what decides on colours, widths and links."""
    hidden = {"NO_COLOR", "FORCE_COLOR", "COLUMNS", "LINES", "TERM_PROGRAM", "VTE_VERSION"}
    hidden |= {"FORCE_HYPERLINK", "WT_SESSION", "KITTY_WINDOW_ID", "KONSOLE_VERSION"}
    return {key: value for key, value in os.environ.items() if key not in hidden}


class Watching:
    """The process and the lines it has written so far, in `lines`.

    With `columns`, `mode` is that of the terminal before the process has begun.

    Args:
        arguments: of the command.
        command: of `dagstack-dev`.
        cwd: where it runs.
        columns: of the terminal that is its standard output; None for a pipe.
        environment: variables that are set besides those of the test run.
        prefix: a command that is given the whole command to run.
        program: what is `dagstack-dev`; by default, the code under test.
    """

    def __init__(
        self,
        *arguments: str | Path,
        cwd: Path,
        command: str = "watch",
        columns: int | None = None,
        environment: dict[str, str] | None = None,
        prefix: Sequence[str] = (),
        program: Sequence[str] = (sys.executable, "-m", "dagstack_dev"),
        typing: bool = False,
    ) -> None:
        self.lines: list[str] = []
        self._errors: list[str] = []
        self._error_arrived = threading.Condition()
        self._arrived: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._read, write = pty.openpty() if columns else os.pipe()
        if columns:
            self.mode = termios.tcgetattr(write)
            fcntl.ioctl(write, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
        self.process = subprocess.Popen(
            [*prefix, *program, command, *map(str, arguments)],
            cwd=cwd,
            stdin=write if typing else subprocess.DEVNULL,
            stdout=write,
            stderr=subprocess.PIPE,
            text=True,
            env=inherited() | CHECKOUT | {"TERM": "xterm-256color"} | (environment or {}),
        )
        os.close(write)
        self._threads = [
            threading.Thread(target=self._read_lines),
            threading.Thread(target=self._read_errors),
        ]
        for thread in self._threads:
            thread.start()

    def peak_memory(self) -> int:
        """The most memory the process has ever held, in bytes."""
        status = Path(f"/proc/{self.process.pid}/status")
        if not status.exists():
            pytest.skip("only Linux tells the memory of another process")
        lines = status.read_text(encoding="utf-8").splitlines()
        fields = dict(line.split(":", 1) for line in lines)
        return int(fields["VmHWM"].split()[0]) * 1024

    def _read_lines(self) -> None:
        try:
            with (
                contextlib.suppress(OSError),  # A terminal ends with an error, a pipe does not.
                os.fdopen(self._read, encoding="utf-8", newline="") as stream,
            ):
                for line in stream:
                    self._arrived.put(line.rstrip("\r\n"))
        finally:
            self._arrived.put(None)

    def _read_errors(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            with self._error_arrived:
                self._errors.append(line)
                self._error_arrived.notify_all()

    def until(self, matches: Callable[[str], bool]) -> str:
        """The next line that matches, without escape sequences."""
        while True:
            try:
                line = self._arrived.get(timeout=GUARD_SECONDS)
            except queue.Empty:
                line = None
            assert line is not None, "no such line in:\n" + "\n".join(self.lines + self._errors)
            self.lines.append(line)
            plain = _ESCAPES.sub("", line)
            if matches(plain):
                return plain

    def line(self, text: str) -> str:
        """The next line that contains `text`."""
        return self.until(lambda line: text in line)

    def event(self, name: str, **fields: object) -> Event:
        """The next event of this name with these fields."""

        def matches(line: str) -> bool:
            event = json.loads(line)
            return event["event"] == name and all(event[key] == fields[key] for key in fields)

        found: Event = json.loads(self.until(matches))
        return found

    def error(self, text: str) -> str:
        """The first line on standard error that contains `text`, waited for."""

        def found() -> str | None:
            return next((line for line in self._errors if text in line), None)

        with self._error_arrived:
            line = self._error_arrived.wait_for(found, GUARD_SECONDS)
        assert line is not None, f"no {text!r} in:\n{self.errors}"
        return line

    def send(self, number: signal.Signals) -> None:
        """Send a signal."""
        self.process.send_signal(number)

    def end(self, number: signal.Signals = signal.SIGINT) -> int:
        """Ask for the end and wait for it; the answer is the exit code."""
        self.send(number)
        return self.ended()

    def ended(self) -> int:
        """Wait for the end; all output is in `lines` and `errors` then."""
        code = self.process.wait(GUARD_SECONDS)
        for thread in self._threads:
            thread.join(GUARD_SECONDS)
        while (line := self._arrived.get(timeout=GUARD_SECONDS)) is not None:
            self.lines.append(line)
        return code

    def kill(self) -> None:
        """End what a failed test has left."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(GUARD_SECONDS)
        for thread in self._threads:
            thread.join(GUARD_SECONDS)
        assert self.process.stderr is not None
        self.process.stderr.close()

    @property
    def terminal(self) -> int:
        """The descriptor of our end of its standard output."""
        return self._read

    @property
    def errors(self) -> str:
        """What it wrote to standard error."""
        return "".join(self._errors)

    @property
    def events(self) -> list[Event]:
        """Every line as the JSON object it has to be."""
        return [json.loads(line) for line in self.lines]

    @property
    def screen(self) -> str:
        """Every line without escape sequences."""
        return _ESCAPES.sub("", "\n".join(self.lines))


def steps_of(events: list[Event], plugin: str) -> Iterator[tuple[str | None, str]]:
    """The transitions of one plugin as pairs of states, in the order logged."""
    for event in events:
        if event.get("plugin") == plugin and "to_state" in event:
            yield event["from_state"], event["to_state"]


_HUMBLE = ("setpriv", "--bounding-set", "-dac_override,-dac_read_search")
"""Runs a command as root without root's right to read everything."""


def humble() -> tuple[str, ...]:
    """What makes permissions count for a process."""
    if os.geteuid() != 0:
        return ()
    is_there = shutil.which(_HUMBLE[0]) is not None
    if not is_there or subprocess.run([*_HUMBLE, "true"], check=False).returncode:
        pytest.skip("root may read everything, and setpriv cannot take that away here")
    return _HUMBLE
