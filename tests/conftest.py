"""Fixtures for every test."""

from __future__ import annotations

import math
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog
from command_runs import Watching
from hypothesis import HealthCheck, settings
from trees import PluginTree

from dagstack_dev.app import leaks
from dagstack_dev.runtimes.leaks import referrers

# In the background of a shell, or under nohup, these are ignored, and children inherit that.
for _number in (signal.SIGHUP, signal.SIGQUIT):
    signal.signal(_number, signal.SIG_DFL)
signal.signal(signal.SIGINT, signal.default_int_handler)

# A machine that is busy is no fault of what is tested.
settings.register_profile("busy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy")


@pytest.fixture
def tree(tmp_path: Path) -> PluginTree:
    """An empty folder to write plugins into."""
    return PluginTree(tmp_path / "plugins")


@pytest.fixture
def idle_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Servers look for leaks as soon as nothing happens, and for holders as long as it takes."""
    monkeypatch.setattr(leaks, "IDLE_SECONDS", 0.01)
    monkeypatch.setattr(referrers, "SECONDS", math.inf)


@pytest.fixture
def watch(tmp_path: Path, sockets: Path) -> Iterator[Callable[..., Watching]]:
    """Start a process in the test's folder; the arguments are those of `Watching`.

    No command of another test asks it: each looks at all servers that have their sockets in one
    folder, and what is asked begins to import what answers.
    """
    started: list[Watching] = []

    def start(*arguments: str | Path, **options: Any) -> Watching:
        started.append(Watching(*arguments, cwd=tmp_path, **options))
        return started[-1]

    yield start
    for each in started:
        each.kill()


@pytest.fixture
def sockets(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder where the sockets and their records lie; its path is short enough for them."""
    with tempfile.TemporaryDirectory(prefix="dd-") as folder:
        monkeypatch.setenv("XDG_RUNTIME_DIR", folder)
        yield Path(folder, "dagstack-dev")


@pytest.fixture
def imports_forgotten(tmp_path: Path) -> Iterator[None]:
    """No module of this test is found by the next, nor anything that it adds to `sys.path`."""
    path = list(sys.path)
    yield
    sys.path[:] = path
    for name, module in sys.modules.copy().items():
        if (getattr(module, "__file__", None) or "").startswith(str(tmp_path)):
            sys.modules.pop(name, None)


@pytest.fixture(autouse=True)
def captured_events() -> Iterator[list[structlog.typing.EventDict]]:
    """Every structlog event of the test, instead of its printing."""
    structlog.reset_defaults()
    with structlog.testing.capture_logs() as events:
        yield events
    structlog.reset_defaults()
