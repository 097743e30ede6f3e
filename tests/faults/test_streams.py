"""Standard input, output and error, the log file and the terminal, and what may happen to them."""

from __future__ import annotations

import fcntl
import os
import resource
import signal
import struct
import subprocess
import sys
import termios
from collections.abc import Callable
from pathlib import Path

import pytest
from command_runs import CHECKOUT, GUARD_SECONDS, Watching
from trees import PluginTree

Watch = Callable[..., Watching]
StillReloads = Callable[[Watching], None]

MARKER = """
from pathlib import Path

class Plugin:
    def setup(self, ctx):
        Path("set_up").touch()

    def teardown(self):
        Path("torn_down").touch()
"""


def test_a_full_disk_behind_the_log_file_is_reported_once_and_the_rest_goes_on(
    tree: PluginTree, watch: Watch, still_reloads: StillReloads
) -> None:
    run = watch("plugins", "--log-file", "/dev/full")
    run.event("watch.started")
    still_reloads(run)
    assert run.end() == 0
    assert run.errors == (
        "dagstack-dev: --log-file /dev/full cannot be written: No space left on device; "
        "the server goes on without it\n"
    )


@pytest.mark.parametrize("form", ["json", "console"])
def test_a_full_disk_behind_standard_output_is_reported_once_and_the_server_goes_on(
    tree: PluginTree, form: str
) -> None:
    tree.plugin("marker", code=MARKER)
    with (
        Path("/dev/full").open("w") as full,
        subprocess.Popen(
            [sys.executable, "-m", "dagstack_dev", "watch", "plugins", "--log-format", form],
            cwd=tree.root.parent,
            env=os.environ | CHECKOUT,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
        ) as run,
    ):
        assert run.stderr is not None
        assert run.stderr.readline() == (
            "dagstack-dev: standard output cannot be written: No space left on device; "
            "the server goes on without it\n"
        )
        while not (tree.root.parent / "set_up").exists():
            assert run.poll() is None
        run.send_signal(signal.SIGINT)
        assert run.wait(GUARD_SECONDS) == 0
        assert run.stderr.read() == ""
    assert (tree.root.parent / "torn_down").exists()


def test_a_file_that_may_not_grow_gets_whole_lines_only(tree: PluginTree, watch: Watch) -> None:
    limit = 4096
    code = f"""
        import resource
        resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {resource.RLIM_INFINITY}))

        class Plugin:
            def setup(self, ctx):
                for number in range(100):
                    ctx.logger.info("line", number=number)
                resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
                ctx.logger.info("space again")
        """
    tree.plugin("filler", code=code)
    run = watch("plugins", "--log-file", "log")
    run.event("watch.started")
    assert run.end() == 0
    lines = (tree.root.parent / "log").read_text().splitlines()
    torn = [line for line in lines if not line.endswith("}")]
    assert len(torn) <= 1
    assert any('"space again"' in line and line.startswith("{") for line in lines)
    assert "File too large" in run.errors


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_a_standard_stream_that_is_closed_from_the_start_does_no_harm(
    tree: PluginTree, closed: str
) -> None:
    tree.plugin("marker", code=MARKER)
    command = f"exec {sys.executable} -m dagstack_dev watch plugins --log-file log {closed}"
    with subprocess.Popen(
        ["/bin/sh", "-c", command],
        cwd=tree.root.parent,
        env=os.environ | CHECKOUT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as run:
        log = tree.root.parent / "log"
        while not (log.exists() and "watch.started" in log.read_text()):
            assert run.poll() is None, run.stderr.read() if run.stderr else ""
        run.send_signal(signal.SIGINT)
        assert run.wait(GUARD_SECONDS) == 0
        assert run.stderr is not None
        assert run.stderr.read() == ""
    assert (tree.root.parent / "torn_down").exists()
    assert all(line.startswith("{") for line in log.read_text().splitlines())


def test_no_controlling_terminal_is_needed(tree: PluginTree) -> None:
    tree.plugin("marker", code=MARKER)
    with subprocess.Popen(
        [sys.executable, "-m", "dagstack_dev", "watch", "plugins"],
        cwd=tree.root.parent,
        env=os.environ | CHECKOUT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as run:
        assert run.stdout is not None
        assert run.stderr is not None
        assert any("watch.started" in line for line in iter(run.stdout.readline, ""))
        run.send_signal(signal.SIGINT)
        assert run.wait(GUARD_SECONDS) == 0
        assert run.stderr.read() == ""
    assert (tree.root.parent / "torn_down").exists()


def test_a_terminal_that_is_resized_gets_frames_of_its_new_width(
    tree: PluginTree, watch: Watch
) -> None:
    tree.plugin("a")
    run = watch("plugins", columns=100)
    run.line("1 ready")
    fcntl.ioctl(run.terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 50, 40, 0, 0))
    tree.plugin("a", code="class Plugin\n")
    assert len(run.line("╭")) == 40
    assert run.end() == 0
