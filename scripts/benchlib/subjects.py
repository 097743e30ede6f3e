"""The programs whose reaction to a save is measured, each with a tree of its own."""

from __future__ import annotations

import importlib.util
import os
import select
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final, Self

from scripts.benchlib.bare import WATCHING
from scripts.benchlib.checkouts import HERE, ROOT, Checkout
from scripts.benchlib.trees import REPORT_VARIABLE, probe_text, write_tree

START_SEC: Final = 180.0
SAVE_SEC: Final = 60.0
QUIET_SEC: Final = 0.3

HMR_MAIN = "import plugin\nplugin.Plugin().setup(None)\n"
# jurigged patches what lives and reports nothing: look, as often as does not cost anything.
JURIGGED_MAIN = """\
import time
import plugin

seen = None
while True:
    if seen != (plugin.VALUE, plugin.COMPLETE):
        seen = (plugin.VALUE, plugin.COMPLETE)
        plugin.Plugin().setup(None)
    time.sleep(0.0002)
"""


@dataclass(frozen=True)
class Recipe:
    """How to start a program.

    Attributes:
        name: in the tables.
        command: arguments; `{tree}` stands for the plugins, `{step}` for the step in ms.
        files: further files beside the plugin, for programs that know no plugin folders.
        started: what its output says when saves may begin; empty: its first report does.
        requires: the module without which it cannot run.
        environment: further variables.
    """

    name: str
    command: tuple[str, ...]
    files: dict[str, str] = field(default_factory=dict)
    started: str = ""
    requires: str = "watchfiles"
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def available(self) -> bool:
        """Whether it is installed."""
        return importlib.util.find_spec(self.requires) is not None


_PYTHON = sys.executable


def server(checkout: Checkout) -> Recipe:
    """The command of one checkout."""
    return Recipe(
        f"{checkout.name} watch",
        (
            *(_PYTHON, "-m", "dagstack_dev", "watch", "{tree}"),
            *("--settle", "{step}", "--log-format", "json"),
        ),
        started="watch.started",
        environment=checkout.environment,
    )


OURS = server(HERE)
FLOOR = Recipe(
    "bare floor", (_PYTHON, "-m", "scripts.benchlib.bare", "{tree}", "{step}"), started=WATCHING
)
RESTARTS = (
    Recipe(
        "watchfiles (restart)",
        (
            *(_PYTHON, "-m", "watchfiles"),
            *(f"{_PYTHON} -m scripts.benchlib.restarted", "{tree}"),
        ),
    ),
    Recipe(
        "uvicorn --reload",
        (
            *(_PYTHON, "-m", "uvicorn", "scripts.benchlib.restarted:app", "--port", "0"),
            *("--reload", "--reload-dir", "{tree}"),
        ),
        requires="uvicorn",
    ),
)
IN_PLACE = (
    Recipe(
        "hmr",
        (_PYTHON, "-m", "reactivity.hmr", "main.py"),
        files={"main.py": HMR_MAIN},
        requires="reactivity",
    ),
    Recipe(
        "jurigged",
        (_PYTHON, "-m", "jurigged", "-w", ".", "main.py"),
        files={"main.py": JURIGGED_MAIN},
        requires="jurigged",
    ),
)


@dataclass
class Outcome:
    """What came of the saves of one program.

    Attributes:
        milliseconds: from just before the write to the end of the new setup, per save.
        missed: saves that were never seen.
        torn: setups of a file that was not whole.
        repeated: setups of a content that was set up before.
    """

    milliseconds: list[float] = field(default_factory=list)
    missed: int = 0
    torn: int = 0
    repeated: int = 0


class Subject:
    """One running program. A context manager; entering waits until saves may begin.

    Args:
        recipe: what to run.
        folder: an empty folder for its plugins and its pipe.
        plugins: how many.
        step_ms: the step of its watch, where it can be set.
        write: writes other plugins below a folder; the answer is the file of the probe.
    """

    def __init__(
        self,
        recipe: Recipe,
        folder: Path,
        plugins: int,
        step_ms: int,
        write: Callable[[Path], Path] | None = None,
    ) -> None:
        self.recipe = recipe
        self.outcome = Outcome()
        self._folder = folder
        self._write = write or partial(write_tree, count=plugins)
        self._step_ms = step_ms
        self._saves = 0
        self._rest = b""

    def __enter__(self) -> Self:
        tree = self._folder / "plugins"
        cwd = ROOT
        if self.recipe.files:
            tree.mkdir(parents=True)
            cwd = tree
            for name, text in self.recipe.files.items():
                (tree / name).write_text(text, encoding="utf-8")
            self._probe = tree / "plugin.py"
            self._probe.write_bytes(probe_text(0))
        else:
            self._probe = self._write(tree)
        pipe = self._folder / "report"
        os.mkfifo(pipe)
        self._pipe = os.open(pipe, os.O_RDWR | os.O_NONBLOCK)
        step = str(self._step_ms)
        self._process = subprocess.Popen(
            [
                word.replace("{tree}", str(tree)).replace("{step}", step)
                for word in self.recipe.command
            ],
            cwd=cwd,
            env=os.environ
            | self.recipe.environment
            | {
                REPORT_VARIABLE: str(pipe),
                "BENCH_TREE": str(tree),
                "PYTHONUNBUFFERED": "1",
            },
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self._output: list[str] = []
        self._has_started = threading.Event()
        threading.Thread(target=self._read_output, daemon=True).start()
        if self._report(START_SEC) is None:
            self.__exit__()
            msg = f"{self.recipe.name} does not start:\n{''.join(self._output[-20:])}"
            raise RuntimeError(msg)
        if self.recipe.started:
            self._has_started.wait(START_SEC)
        else:
            time.sleep(1)  # It does not say when it watches.
        return self

    @property
    def pid(self) -> int:
        """Of its process; that of the leader where there are several."""
        return self._process.pid

    def __exit__(self, *_: object) -> None:
        os.killpg(self._process.pid, 9)
        self._process.wait()
        os.close(self._pipe)

    def _read_output(self) -> None:
        assert self._process.stdout is not None  # noqa: S101 - it is a pipe
        for line in self._process.stdout:
            self._output.append(line)
            if self.recipe.started and self.recipe.started in line:
                self._has_started.set()

    def save(self) -> None:
        """Save the probe once more and wait until what was saved is ready."""
        self._count_late_reports()
        self._saves += 1
        content = probe_text(self._saves)
        began = time.monotonic_ns()
        with open(self._probe, "wb", buffering=0) as file:  # noqa: PTH123 - one plain write
            file.write(content)
        while (report := self._report(SAVE_SEC)) is not None:
            if self._is_final(report):
                self.outcome.milliseconds.append((report[2] - began) / 1e6)
                return
        self.outcome.missed += 1

    def finish(self) -> Outcome:
        """Wait until nothing more can come; the outcome of all saves."""
        time.sleep(QUIET_SEC)
        self._count_late_reports()
        return self.outcome

    def _count_late_reports(self) -> None:
        while (report := self._report(0)) is not None:
            self.outcome.repeated += self._is_final(report)

    def _is_final(self, report: tuple[int, int, int]) -> bool:
        value, complete, _ = report
        self.outcome.torn += value != complete
        return value == complete == self._saves

    def _report(self, seconds: float) -> tuple[int, int, int] | None:
        while b"\n" not in self._rest:
            if not select.select([self._pipe], [], [], seconds)[0]:
                return None
            self._rest += os.read(self._pipe, 65536)
        line, _, self._rest = self._rest.partition(b"\n")
        value, complete, when = map(int, line.split())
        return value, complete, when
