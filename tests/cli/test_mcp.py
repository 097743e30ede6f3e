"""The command for agents reads requests from its input, and ends with it."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

from command_runs import CHECKOUT, GUARD_SECONDS, inherited


def test_ctrl_c_ends_it_though_it_waits_for_input(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "dagstack_dev", "mcp"],
        cwd=tmp_path,
        env=inherited() | CHECKOUT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(b'{"jsonrpc": "2.0", "id": 1, "method": "ping"}\n')
        process.stdin.flush()
        assert json.loads(process.stdout.readline())["id"] == 1
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=GUARD_SECONDS) == (b"", b"")
        assert process.returncode == 0


def test_it_ends_when_its_input_does_and_writes_nothing_else(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "dagstack_dev", "mcp"],
        cwd=tmp_path,
        env=inherited() | CHECKOUT,
        input="",
        capture_output=True,
        text=True,
        timeout=GUARD_SECONDS,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
