"""`dagstack-dev watch`."""

from __future__ import annotations

import asyncio
import glob
import os
import stat
import sys
import threading
import traceback
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import anyio
import click
import structlog
from packaging.version import InvalidVersion, Version

from dagstack_dev.app.config import ConfigInvalid, read_config
from dagstack_dev.app.registry import PluginRegistry
from dagstack_dev.app.server import DevServer
from dagstack_dev.app.settings import Settings
from dagstack_dev.cli.excerpts import short
from dagstack_dev.cli.log_stream import LogFormat, configure_logging
from dagstack_dev.cli.signals import Ending
from dagstack_dev.cli.terminal import StdoutConsole, Terminal
from dagstack_dev.core.blame import root_error
from dagstack_dev.core.errors import said
from dagstack_dev.disk.discovery import root_folder
from dagstack_dev.host.context import PluginContext
from dagstack_dev.host.registry import CORE_VERSION

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

THREAD_SECONDS: Final = 0.5
"""How long a thread may take to end with the rest before it is named."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchOptions:
    """The arguments of the command, as click parsed them."""

    paths: tuple[Path, ...]
    config_file: Path | None
    core_version: str | None
    ignore: tuple[str, ...]
    polling: bool
    settle_ms: int
    log_format: str | None
    log_level: str
    log_file: Path | None


def run(options: WatchOptions) -> int:
    """Watch until a signal; the answer is the exit code.

    Raises:
        click.UsageError: an argument cannot be used; exit code 2.
        click.ClickException: this program itself is at fault; exit code 1.
    """
    _check(options)
    ending = Ending()
    output = _Output(ending)
    registry = PluginRegistry(core_version=options.core_version or CORE_VERSION)
    console = StdoutConsole()
    form = _log_format(options)
    ignored = (*options.ignore, *_own_output_patterns(options))
    try:
        configure_logging(
            form=form,
            level=options.log_level,
            console=console,
            file=str(options.log_file) if options.log_file else None,
            plugin_of_path=_plugin_of_path(registry),
            on_closed=output.closed,
        )
    except OSError as error:
        msg = f"--log-file {options.log_file}: {error.strerror}"
        raise click.UsageError(msg) from error
    ending.on_signals()
    if form is LogFormat.CONSOLE:
        registry.observe(Terminal(registry, console, output.closed))
    context = PluginContext(
        config={}, logger=structlog.stdlib.get_logger("plugins"), registry=registry
    )
    server = DevServer(
        *options.paths,
        context=context,
        settings=Settings(
            settle_ms=options.settle_ms,
            ignore=ignored,
            polling=options.polling,
            config_file=options.config_file,
        ),
    )
    try:
        anyio.run(_serve, server, ending)
    except (FileNotFoundError, ConfigInvalid) as error:
        raise click.UsageError(short(str(error))) from error
    except Exception as error:
        raise _our_fault(error, options) from error
    _tell_of_threads()
    return 0


async def _serve(server: DevServer, ending: Ending) -> None:
    """Run the server until it is asked to end."""
    loop = asyncio.get_running_loop()
    with anyio.CancelScope() as scope, ending.calling(scope.cancel, loop):
        async with server:
            await anyio.sleep_forever()


class _Output:
    """Standard output, which may lose its reader: a pager that quits, a terminal that closes."""

    def __init__(self, ending: Ending) -> None:
        self._ending = ending

    def closed(self) -> None:
        """Write into the void from now on, and end in an orderly way."""
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 1)
        os.close(nowhere)
        self._ending.ask()


def _check(options: WatchOptions) -> None:
    """Refuse what cannot work before anything is started."""
    if not options.paths:
        msg = "nothing to watch; name at least one folder with plugins: dagstack-dev watch plugins/"
        raise click.UsageError(msg)
    version = options.core_version or CORE_VERSION
    try:
        Version(version)
    except InvalidVersion:
        msg = f"--core-version {version!r} is not a PEP 440 version; write for example 0.1.0"
        raise click.UsageError(msg) from None
    try:
        for path in options.paths:
            root_folder(path)
        if options.config_file is not None:
            read_config(options.config_file.expanduser())
    except (FileNotFoundError, ConfigInvalid) as error:
        raise click.UsageError(str(error)) from error


def _log_format(options: WatchOptions) -> LogFormat:
    if options.log_format is not None:
        return LogFormat(options.log_format)
    return LogFormat.CONSOLE if sys.stdout.isatty() else LogFormat.JSON


def _own_output_patterns(options: WatchOptions) -> Iterator[str]:
    """What to ignore so that our own output into a watched folder is no change of it."""
    written = [options.log_file.resolve()] if options.log_file is not None else []
    with suppress(OSError):  # It may be closed.
        if stat.S_ISREG(os.fstat(1).st_mode):
            written.append(Path("/dev/fd/1").resolve())
    for path in options.paths:
        root = path.expanduser().resolve()
        for file in written:
            if file.is_relative_to(root):
                yield "/" + glob.escape(str(file.relative_to(root)))


def _plugin_of_path(registry: PluginRegistry) -> Callable[[str], str | None]:
    """Tells which plugin a source file belongs to."""

    def plugin_of(path: str) -> str | None:
        for entry in registry.table.present():
            folder = entry.offer.folder
            if folder is not None and path.startswith(folder + os.sep):
                return str(entry.ref)
        return None

    return plugin_of


def _our_fault(error: Exception, options: WatchOptions) -> click.ClickException:
    """One line for an error that should not exist; the traceback only for who asks for it."""
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    root = root_error(error)
    if options.log_level == "debug":
        traceback.print_exception(error)
    frames = traceback.extract_tb(root.__traceback__)
    place = f" at {short(frames[-1].filename)}:{frames[-1].lineno}" if frames else ""
    hint = "" if options.log_level == "debug" else "; --log-level debug shows where it comes from"
    return click.ClickException(
        f"a defect of dagstack-dev ended it: {type(root).__name__}: {said(root)}{place}{hint}"
    )


def _tell_of_threads() -> None:
    """End in spite of threads that plugins have left behind, and name them."""
    others = [
        thread
        for thread in threading.enumerate()
        if thread is not threading.main_thread() and not thread.daemon
    ]
    for thread in others:
        thread.join(THREAD_SECONDS)
    left = [thread.name for thread in others if thread.is_alive()]
    if left:
        click.echo(
            f"dagstack-dev: ended in spite of {', '.join(left)}, left running by plugins",
            err=True,
        )
        sys.stdout.flush()
        os._exit(0)  # Such threads would keep the process for as long as they please.
