"""Cold starts in fresh processes, forked from one that has imported everything already.

Run as a program this is that process: each line of its input names a folder as JSON, each line
of its output is the picture of a cold start there.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import signal
import subprocess
import sys
import traceback
from pathlib import Path
from types import TracebackType
from typing import Self

import anyio

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))

from soaking.host import Host, silence_logs
from soaking.pictures import Picture, picture

PATIENCE = 60
"""Seconds that one cold start may take."""


class ColdStarts:
    """The process that is forked; a context manager."""

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
        )
        self._asked = False
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.communicate()

    def ask(self, root: Path) -> None:
        """Begin a cold start on the files below `root`."""
        if self._asked:  # Somebody did not wait for the answer.
            self.answer()
        self._asked = True
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(str(root)) + "\n")

    def answer(self) -> Picture:
        """What runs after the cold start that was asked for; blocks until it is there."""
        self._asked = False
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise EOFError("the process that makes cold starts has ended")
        answer: Picture = json.loads(line)
        if "died" in answer:
            raise RuntimeError(f"a cold start died: {answer['died']}")
        return answer


def main() -> None:
    """Answer until the input ends."""
    silence_logs()
    anyio.run(anyio.sleep, 0)  # What a first loop imports is imported for every child.
    gc.collect()
    gc.freeze()
    for line in sys.stdin:
        child = os.fork()
        if not child:
            _start(Path(json.loads(line)))
        _, status = os.waitpid(child, 0)
        if status:
            _say({"died": f"status {status}"})


def _start(root: Path) -> None:
    """Start, tell, and end without tidying up: nobody needs this process any more."""
    signal.alarm(PATIENCE)
    try:
        asyncio.run(_tell(root))
    except BaseException:  # noqa: BLE001 - whatever it is, this process tells it and ends
        traceback.print_exc()
    finally:
        os._exit(1)


def _say(answer: Picture) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


async def _tell(root: Path) -> None:
    host = Host(root, polling=True)
    async with host.server:
        _say(picture(host))
        os._exit(0)


if __name__ == "__main__":
    main()
