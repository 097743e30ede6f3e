"""What a plugin brings along in `tests`: calls to try its hooks with, and tests for pytest."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final

import anyio

from dagstack_dev.core.documents import DocumentInvalid, read_document
from dagstack_dev.core.errors.files import Invalid, ManifestProblem
from dagstack_dev.core.refs import did_you_mean
from dagstack_dev.disk.reading import content_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from dagstack_dev.core.refs import PluginRef
    from dagstack_dev.core.sources import PluginSource

SAMPLES_FILE: Final = "tests/contract.toml"
"""Relative to the plugin's folder: a table per hook, with `arguments` and perhaps `expected`."""

_KEYS: Final = ("arguments", "expected")


class SamplesInvalid(Invalid):
    """A file of samples cannot be used; `problems` lists everything wrong with it at once."""

    what = "samples"


def read_samples(source: PluginSource) -> dict[str, dict[str, Any]]:
    """Read the file in a plugin's folder; return a table by hook, empty without a file.

    Raises:
        SamplesInvalid: the file cannot be read, is no TOML, or of another shape.
    """
    if SAMPLES_FILE not in source.files:
        return {}
    path = f"{source.folder}/{SAMPLES_FILE}"
    try:
        document = read_document(content_of(path))
    except DocumentInvalid as error:
        raise SamplesInvalid.of(path, error.reason, error.line) from error
    problems = [
        ManifestProblem(".".join(keys), message, document.line_of(keys))
        for keys, message in _problems(document.values)
    ]
    if problems:
        raise SamplesInvalid(path, problems)
    samples: dict[str, dict[str, Any]] = document.values
    return samples


def _problems(tables: dict[str, Any]) -> Iterator[tuple[tuple[str, ...], str]]:
    for hook, table in tables.items():
        if not isinstance(table, dict):
            yield (hook,), f"write [{hook}] with a table `arguments` in it"
            continue
        for key in table.keys() - set(_KEYS):
            yield (hook, key), f"unknown key{did_you_mean(key, _KEYS)}"
        if not isinstance(table.get("arguments", {}), dict):
            yield (hook, "arguments"), "must be a table, by name"


# Tests

OWN_TESTS: Final = "DAGSTACK_DEV_OWN_TESTS"
"""The environment variable that says to `own_modules`, in JSON, whose tests are run."""

_NOTHING_COLLECTED: Final = 5
"""The exit code of pytest that has found no test."""

_SILENCED: Final = 'ignore:The configuration option "asyncio_default_fixture_loop_scope" is unset'
"""What pytest-asyncio says of every project that is silent about an option of its own."""


_MOST_BYTES: Final = 1_000_000
"""Of what the tests of one plugin print, which is kept: the end, where pytest says what failed."""


@dataclass(frozen=True, slots=True)
class TestRun:
    """How the tests of one plugin went; `summary` is one line, `output` what pytest said."""

    __test__ = False

    passed: bool
    summary: str
    output: str = ""


async def run_own_tests(
    ref: PluginRef, source: PluginSource, roots: Sequence[str], ignore: Sequence[str]
) -> TestRun | None:
    """Run pytest over the `tests` of a plugin's folder; None when there are none.

    They import the plugin as the server does, and code that it shares with others.

    Args:
        ref: the plugin.
        source: its folder.
        roots: folders with plugins and shared code; the plugin's is below one of them.
        ignore: globs of what does not count there.
    """
    if not any(map(_is_test, source.files)):
        return None
    if find_spec("pytest") is None:
        return TestRun(passed=False, summary="pytest is not installed: pip install pytest")
    # -P: the folder is the current one, but its files hide no modules of the same name.
    command = [sys.executable, "-P", "-m", "pytest", "-q", "--import-mode=importlib", "--color=no"]
    command += ["-p", "no:cacheprovider", "-p", "dagstack_dev.testing.own_modules"]
    command += ["--rootdir", source.folder, f"{source.folder}/tests"]
    about = {
        "folder": source.folder,
        "kind": ref.kind,
        "name": ref.name,
        "roots": roots,
        "ignore": ignore,
    }
    warnings = ",".join(filter(None, (os.environ.get("PYTHONWARNINGS"), _SILENCED)))
    env = os.environ | {"PYTHONWARNINGS": warnings, "PYTHONDONTWRITEBYTECODE": "1"}
    env[OWN_TESTS] = json.dumps(about)
    code, output = await _run(command, folder=source.folder, env=env)
    lines = output.splitlines()
    summary = lines[-1].strip(" =") if lines else ""
    return TestRun(code in {0, _NOTHING_COLLECTED}, summary, output)


async def _run(command: list[str], *, folder: str, env: dict[str, str]) -> tuple[int, str]:
    """Return the exit code, and what was written; of very much, the end."""
    end, size = bytearray(), 0
    async with await anyio.open_process(
        command, cwd=folder, env=env, stdin=subprocess.DEVNULL, stderr=subprocess.STDOUT
    ) as process:
        assert process.stdout is not None  # noqa: S101 - it is piped, by default
        try:
            async for chunk in process.stdout:
                size += len(chunk)
                end += chunk
                del end[:-_MOST_BYTES]
            code = await process.wait()
        except BaseException:
            with suppress(ProcessLookupError):
                process.kill()  # Ctrl-C cancels but once, and to leave the block waits for its end.
            raise
    output, more = end.decode(errors="replace").strip(), size - len(end)
    return code, f"... after {more:,} bytes more:\n{output}" if more else output


def _is_test(path: str) -> bool:
    """Return whether pytest takes the file at `path` for tests, by its name."""
    name = path.rpartition("/")[2]
    is_named_so = name.startswith("test_") or name.endswith("_test.py")
    return path.startswith("tests/") and name.endswith(".py") and is_named_so
