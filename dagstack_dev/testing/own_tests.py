"""The tests that a plugin brings along, run by pytest in a process of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Final

import anyio

if TYPE_CHECKING:
    from dagstack_dev.core.sources import PluginSource

_NOTHING_COLLECTED: Final = 5
"""The exit code of pytest that has found no test."""


_SILENCED: Final = 'ignore:The configuration option "asyncio_default_fixture_loop_scope" is unset'
"""What pytest-asyncio says of every project that is silent about an option of its own."""


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
    warnings = ",".join(filter(None, (os.environ.get("PYTHONWARNINGS"), _SILENCED)))
    env = os.environ | {"PYTHONPATH": path, "PYTHONWARNINGS": warnings}
    env["PYTHONDONTWRITEBYTECODE"] = "1"
    code, output = await _run(command, folder=source.folder, env=env)
    lines = output.splitlines()
    summary = lines[-1].strip(" =") if lines else ""
    return TestRun(code in {0, _NOTHING_COLLECTED}, summary, output)


async def _run(command: list[str], *, folder: str, env: dict[str, str]) -> tuple[int, str]:
    """The exit code, and all that was written."""
    async with await anyio.open_process(
        command, cwd=folder, env=env, stdin=subprocess.DEVNULL, stderr=subprocess.STDOUT
    ) as process:
        assert process.stdout is not None  # noqa: S101 - it is piped, by default
        try:
            output = b"".join([chunk async for chunk in process.stdout])
            code = await process.wait()
        except BaseException:
            with suppress(ProcessLookupError):
                process.kill()  # Ctrl-C cancels but once, and to leave the block waits for its end.
            raise
    return code, output.decode(errors="replace").strip()


def _is_test(path: str) -> bool:
    """Whether pytest takes the file at `path` for tests, by its name."""
    name = path.rpartition("/")[2]
    is_named_so = name.startswith("test_") or name.endswith("_test.py")
    return path.startswith("tests/") and name.endswith(".py") and is_named_so
