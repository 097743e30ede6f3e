"""The tests that a plugin brings along, run by pytest in a process of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Final

import anyio

if TYPE_CHECKING:
    from dagstack_dev.core.sources import PluginSource

_NOTHING_COLLECTED: Final = 5
"""The exit code of pytest that has found no test."""


@dataclass(frozen=True, slots=True)
class TestRun:
    """How the tests of one plugin went; `summary` is one line, `output` all that pytest said."""

    __test__ = False

    passed: bool
    summary: str
    output: str = ""


async def run_own_tests(source: PluginSource) -> TestRun | None:
    """Run pytest over the `tests` of a plugin's folder; None when there are none.

    The folder is importable in them, so that `from plugin import Plugin` is the plugin's code.
    """
    if not any(map(_is_test, source.files)):
        return None
    if find_spec("pytest") is None:
        return TestRun(passed=False, summary="pytest is not installed: pip install pytest")
    command = [sys.executable, "-m", "pytest", "-q", "--import-mode=importlib"]
    command += ["-p", "no:cacheprovider", "--rootdir", source.folder, f"{source.folder}/tests"]
    path = os.pathsep.join(filter(None, (source.folder, os.environ.get("PYTHONPATH"))))
    done = await anyio.run_process(
        command,
        cwd=source.folder,
        env=os.environ | {"PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"},
        stderr=subprocess.STDOUT,
        check=False,
    )
    output = done.stdout.decode(errors="replace").strip()
    lines = output.splitlines()
    return TestRun(
        done.returncode in {0, _NOTHING_COLLECTED}, lines[-1].strip(" =") if lines else "", output
    )


def _is_test(path: str) -> bool:
    """Whether pytest takes the file at `path` for tests, by its name."""
    name = path.rpartition("/")[2]
    is_named_so = name.startswith("test_") or name.endswith("_test.py")
    return path.startswith("tests/") and name.endswith(".py") and is_named_so
