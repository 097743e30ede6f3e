"""A client of the debug adapter protocol: what an editor is for debugpy."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Any

from command_runs import CHECKOUT, GUARD_SECONDS, inherited

Message = dict[str, Any]


class Session:
    """One session with an adapter: of the program, or of a process that it has started."""

    def __init__(self, reader: IO[bytes], writer: IO[bytes]) -> None:
        self._reader, self._writer = reader, writer
        self._sent = 0
        self._arrived: queue.SimpleQueue[Message | None] = queue.SimpleQueue()
        self._passed: list[Message] = []
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        try:
            while header := self._reader.readline():
                length = int(header.partition(b":")[2])
                self._reader.readline()
                self._arrived.put(json.loads(self._reader.read(length)))
        finally:
            self._arrived.put(None)

    def send(self, command: str, **arguments: Any) -> int:
        """Send a request; the answer is its number."""
        self._sent += 1
        request = {
            "seq": self._sent,
            "type": "request",
            "command": command,
            "arguments": arguments,
        }
        data = json.dumps(request).encode()
        self._writer.write(b"Content-Length: %d\r\n\r\n%s" % (len(data), data))
        self._writer.flush()
        return self._sent

    def ask(self, command: str, **arguments: Any) -> Message:
        """Send a request and wait for what it is answered with."""
        number = self.send(command, **arguments)
        answer = self._next(lambda each: each.get("request_seq") == number)
        assert answer["success"], answer
        return dict(answer.get("body") or {})

    def event(self, name: str, matches: Callable[[Message], bool] = lambda _: True) -> Message:
        """The next event of this name."""
        found = self._next(
            lambda each: each.get("event") == name and matches(each.get("body") or {})
        )
        return dict(found.get("body") or {})

    def _next(self, matches: Callable[[Message], bool]) -> Message:
        for each in self._passed:
            if matches(each):
                self._passed.remove(each)
                return each
        while True:
            try:
                each_new = self._arrived.get(timeout=GUARD_SECONDS)
            except queue.Empty:
                each_new = None
            assert each_new is not None, "not among:\n" + "\n".join(map(str, self._passed))
            if matches(each_new):
                return each_new
            self._passed.append(each_new)

    def end(self) -> None:
        """Wait until there is nothing more to read."""
        self._thread.join(GUARD_SECONDS)

    # What a person does in an editor

    def begin(self, how: str, breakpoints: dict[Path, Sequence[int]], **arguments: Any) -> None:
        """Start or join what is debugged."""
        self.ask("initialize", adapterID="debugpy", linesStartAt1=True, pathFormat="path")
        number = self.send(how, **{**arguments, "request": how})
        self.event("initialized")
        for path, lines in breakpoints.items():
            self.set_breakpoints(path, *lines)
        self.ask("configurationDone")
        answer = self._next(lambda each: each.get("request_seq") == number)
        assert answer["success"], answer

    def set_breakpoints(self, path: Path, *lines: int) -> None:
        """Have the breakpoints of one file at these lines."""
        self.ask(
            "setBreakpoints", source={"path": str(path)}, breakpoints=[{"line": n} for n in lines]
        )

    def stopped_at(self) -> tuple[str, int, int, int]:
        """Wait until a thread has stopped: the file, the line, the thread, its frame."""
        thread = self.event("stopped")["threadId"]
        frame = self.ask("stackTrace", threadId=thread)["stackFrames"][0]
        return frame["source"]["path"], frame["line"], thread, frame["id"]

    def value(self, name: str, frame: int) -> str:
        """What a name stands for in a frame, as text."""
        return str(self.ask("evaluate", expression=name, frameId=frame, context="repl")["result"])

    def output(self, text: str) -> None:
        """Wait for a line that the program prints."""
        self.event("output", lambda body: text in body.get("output", ""))


class Debugger:
    """An adapter that runs `dagstack-dev watch` under debugpy."""

    def __init__(self, *arguments: str, cwd: Path, breakpoints: dict[Path, Sequence[int]]) -> None:
        self._adapter = subprocess.Popen(
            [sys.executable, "-m", "debugpy.adapter"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=cwd,
            env=inherited() | CHECKOUT,
        )
        assert self._adapter.stdin is not None
        assert self._adapter.stdout is not None
        self._sockets: list[socket.socket] = []
        self.session = Session(self._adapter.stdout, self._adapter.stdin)
        self.session.begin(
            "launch",
            breakpoints,
            type="debugpy",
            module="dagstack_dev",
            args=["watch", *arguments],
            cwd=str(cwd),
            console="internalConsole",
            redirectOutput=True,
        )
        self._program = int(self.session.event("process")["systemProcessId"])

    def joined(self, breakpoints: dict[Path, Sequence[int]]) -> Session:
        """Wait for a process that the program starts; the session of it."""
        attach = self.session.event("debugpyAttach")
        place = attach["connect"]["host"], attach["connect"]["port"]
        connection = socket.create_connection(place, GUARD_SECONDS)
        connection.settimeout(None)
        self._sockets.append(connection)
        session = Session(connection.makefile("rb"), connection.makefile("wb"))
        session.begin("attach", breakpoints, **attach)
        return session

    def ended(self) -> int:
        """Ask the program to end, and wait for it; the answer is its exit code."""
        os.kill(self._program, signal.SIGTERM)
        return int(self.session.event("exited")["exitCode"])

    def close(self) -> None:
        """End all that is left."""
        assert self._adapter.stdin is not None
        assert self._adapter.stdout is not None
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._program, signal.SIGKILL)
        self._adapter.stdin.close()
        self._adapter.kill()
        self._adapter.wait(GUARD_SECONDS)
        self.session.end()
        self._adapter.stdout.close()
        for each in self._sockets:
            each.close()
