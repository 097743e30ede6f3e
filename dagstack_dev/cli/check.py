"""`dagstack-dev check`."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from dagstack_dev.cli.check_formats import FORMATS
from dagstack_dev.cli.project import project_of
from dagstack_dev.cli.wording import short
from dagstack_dev.static.check import check
from dagstack_dev.static.findings import RULES, Severity

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


def run(
    paths: Sequence[Path],
    *,
    form: str,
    skip: Sequence[str],
    blast_limit: int | None,
    **selection: Any,
) -> int:
    """Print what is wrong with the plugins below `paths`; return the exit code.

    Args:
        paths: folders with plugins.
        form: how the findings are printed.
        skip: codes of those that are left out.
        blast_limit: how many plugins a save of shared code may reload; None for half of them.
        selection: what of them counts, and what they are held against; see `project_of`.

    Raises:
        click.UsageError: a folder or file does not exist, no folder is given, or there is no plugin
            in any, or a code is none.
    """
    if unknown := set(skip).difference(rule.code for rule in RULES):
        raise click.UsageError(
            f"--skip {min(unknown)}: no such code; `dagstack-dev docs checks` lists them"
        )
    project = project_of("check", paths, **selection)
    if not project.sources and not project.denied and not project.errors:
        where = f"below {', '.join(map(short, project.roots))}" if project.roots else "installed"
        raise click.UsageError(f"no plugins {where}")
    project = replace(project, blast_limit=blast_limit)
    found = [each for each in check(project) if each.rule.code not in skip]
    FORMATS[form](found, len(project.sources))
    return 1 if any(each.rule.severity is Severity.ERROR for each in found) else 0
