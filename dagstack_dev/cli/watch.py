"""`dagstack-dev watch`."""

from __future__ import annotations

import asyncio
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import click
import structlog
from packaging.version import InvalidVersion, Version

from dagstack_dev.app.config import ConfigInvalid
from dagstack_dev.app.registry import PluginRegistry
from dagstack_dev.app.server import DevServer
from dagstack_dev.app.settings import Settings
from dagstack_dev.cli.signals import stopping_with
from dagstack_dev.cli.terminal import Terminal
from dagstack_dev.host.context import PluginContext
from dagstack_dev.host.registry import CORE_VERSION
from dagstack_dev.logs import LogFormat, configure_logging

if TYPE_CHECKING:
    from collections.abc import Callable


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
    """
    if not options.paths:
        msg = "nothing to watch; name at least one folder with plugins: dagstack-dev watch plugins/"
        raise click.UsageError(msg)
    core_version = options.core_version or CORE_VERSION
    try:
        Version(core_version)
    except InvalidVersion:
        msg = f"--core-version {core_version!r} is not a PEP 440 version; write for example 0.1.0"
        raise click.UsageError(msg) from None
    registry = PluginRegistry(core_version=core_version)
    form = _log_format(options)
    try:
        configure_logging(
            form=form,
            level=options.log_level,
            file=str(options.log_file) if options.log_file else None,
            plugin_of_path=_plugin_of_path(registry),
        )
    except OSError as error:
        msg = f"--log-file {options.log_file}: {error.strerror}"
        raise click.UsageError(msg) from error
    if form is LogFormat.CONSOLE:
        registry.observe(Terminal(registry))
    context = PluginContext(
        config={}, logger=structlog.stdlib.get_logger("plugins"), registry=registry
    )
    server = DevServer(
        *options.paths,
        context=context,
        settings=Settings(
            settle_ms=options.settle_ms,
            ignore=options.ignore,
            polling=options.polling,
            config_file=options.config_file,
        ),
    )
    try:
        anyio.run(_serve, server)
    except (FileNotFoundError, ConfigInvalid) as error:
        raise click.UsageError(str(error)) from error
    return 0


async def _serve(server: DevServer) -> None:
    """Run the server until a signal asks for the end."""
    with anyio.CancelScope() as scope, stopping_with(scope.cancel, asyncio.get_running_loop()):
        async with server:
            await anyio.sleep_forever()


def _log_format(options: WatchOptions) -> LogFormat:
    if options.log_format is not None:
        return LogFormat(options.log_format)
    return LogFormat.CONSOLE if sys.stdout.isatty() else LogFormat.JSON


def _plugin_of_path(registry: PluginRegistry) -> Callable[[str], str | None]:
    """Tells which plugin a source file belongs to."""

    def plugin_of(path: str) -> str | None:
        for ref, status in registry.statuses().items():
            if status.path is not None and path.startswith(status.path + os.sep):
                return str(ref)
        return None

    return plugin_of
