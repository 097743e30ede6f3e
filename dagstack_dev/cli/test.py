"""`dagstack-dev test`."""

from __future__ import annotations

import sys
from collections import Counter
from typing import TYPE_CHECKING

import anyio
import click
from rich.text import Text

from dagstack_dev.app.config import read_config
from dagstack_dev.cli.log_lines import LogFormat
from dagstack_dev.cli.log_stream import LogStream
from dagstack_dev.cli.screen import Screen
from dagstack_dev.cli.settings import no_paths
from dagstack_dev.cli.wording import short
from dagstack_dev.core.errors.files import ConfigInvalid
from dagstack_dev.core.wording import counted
from dagstack_dev.disk.paths import root_folder
from dagstack_dev.testing.folders import NoSuchPlugin, PluginReport, check_folders

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection, Sequence
    from pathlib import Path

    from rich.console import Console


def run(
    paths: Sequence[Path],
    *,
    code_roots: Sequence[Path],
    config_file: Path | None,
    checks: Collection[str],
    plugins: Sequence[str],
    ignore: Sequence[str],
) -> int:
    """Print what comes of each plugin below `paths`; return the exit code.

    Raises:
        click.UsageError: a folder does not exist, none is given, the configuration is unusable, or
            there is no such plugin.
    """
    if not paths:
        raise no_paths("test")
    try:
        roots = [root_folder(path) for path in paths]
        further = [root_folder(path, holds="code") for path in code_roots]
        config = {} if config_file is None else read_config(config_file)
    except (FileNotFoundError, ConfigInvalid) as error:
        raise click.UsageError(str(error)) from error
    console = Screen(soft_wrap=True)
    errors = Screen(sys.stderr, soft_wrap=True)
    LogStream(form=LogFormat.CONSOLE, level="warning", console=errors).take_all()
    reports = check_folders(
        roots,
        code_roots=further,
        config=config,
        ignore=ignore,
        checks=checks or None,
        plugins=plugins,
    )
    try:
        return anyio.run(_run, console, roots, reports)
    except NoSuchPlugin as error:
        raise click.UsageError(str(error)) from error


async def _run(console: Console, roots: Sequence[str], reports: AsyncIterator[PluginReport]) -> int:
    outcomes: Counter[bool] = Counter()
    async for report in reports:
        _show(console, report)
        outcomes[report.passed] += 1
        sys.stdout.flush()
    passed, failed = outcomes[True], outcomes[False]
    number = passed + failed
    if not number:
        console.print(f"no plugins below {', '.join(map(short, roots))}")
        return 1
    counts = f"{counted(number, 'plugin')}: {passed} passed"
    console.print(f"{counts}, {failed} failed" if failed else counts)
    return 1 if failed else 0


def _show(console: Console, report: PluginReport) -> None:
    console.print(
        Text.assemble((str(report.ref or "?"), "bold"), (f"  {short(report.folder)}", "dim"))
    )
    for result in report.results:
        broken = "ok" if result.passed else type(result.error).__name__
        _line(console, result.check_name, short(result.message) or broken, passed=result.passed)
    if report.tests is not None:
        _line(console, "tests", report.tests.summary, passed=report.tests.passed)
        if not report.tests.passed and report.tests.output:
            console.print(Text(report.tests.output))


def _line(console: Console, name: str, words: str, *, passed: bool) -> None:
    first, *more = words.splitlines() or [""]
    mark, style = ("", "green") if passed else ("FAILED ", "red")
    console.print(Text.assemble(f"  {name:<14} ", (f"{mark}{first}", style)))
    for line in more:
        console.print(Text(f"  {'':<14} {line}"))
