"""The plugins that a command looks at without running them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from dagstack_dev.app.entry_points import DEFAULT_GROUP
from dagstack_dev.cli.settings import no_paths
from dagstack_dev.cli.wording import short
from dagstack_dev.core.documents import DocumentInvalid
from dagstack_dev.disk.paths import root_folder
from dagstack_dev.disk.reading import content_of
from dagstack_dev.static.project import Project, read_project

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


def project_of(
    command: str,
    paths: Sequence[Path],
    *,
    code_roots: Sequence[Path],
    config_file: Path | None = None,
    hookspec_files: Sequence[Path] = (),
    entry_points: bool = False,
    **more: Any,
) -> Project:
    """Read the plugins below `paths`.

    Args:
        command: for which, as it is typed.
        paths: folders with plugins.
        code_roots: folders with further code that they import.
        config_file: their configuration.
        hookspec_files: YAML that declares kinds.
        entry_points: whether installed plugins are among them.
        more: see `read_project`.

    Raises:
        click.UsageError: a folder does not exist or none is given, or a file cannot be read.
    """
    if not paths and not entry_points:
        raise no_paths(command)
    try:
        return read_project(
            [root_folder(path) for path in paths],
            code_roots=[root_folder(path, holds="code") for path in code_roots],
            config_file=None if config_file is None else _readable(config_file),
            entry_points=DEFAULT_GROUP if entry_points else None,
            hookspec_files=[_readable(path) for path in hookspec_files],
            **more,
        )
    except FileNotFoundError as error:
        raise click.UsageError(short(str(error))) from error


def _readable(path: Path) -> str:
    """Return the absolute path of a file; that it cannot be read is said as a start says it."""
    file = str(path.expanduser().absolute())
    try:
        content_of(file)
    except DocumentInvalid as error:
        raise click.UsageError(f"{path}: {error.reason}") from error
    return file
