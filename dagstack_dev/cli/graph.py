"""`dagstack-dev graph`."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import click

from dagstack_dev.cli.output import printable_json, printable_styled, say
from dagstack_dev.cli.project import project_of
from dagstack_dev.cli.wording import short
from dagstack_dev.core.errors.base import said
from dagstack_dev.core.refs import ref_called
from dagstack_dev.core.secrets import masked_text
from dagstack_dev.core.wording import counted
from dagstack_dev.static import drawing
from dagstack_dev.static.plans import Start, save
from dagstack_dev.static.tree import tree

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from dagstack_dev.core.plan import ReloadPlan, Step
    from dagstack_dev.core.refs import PluginRef
    from dagstack_dev.static.drawing import Node
    from dagstack_dev.static.project import Project

_DRAWN: Final = {"mermaid": drawing.mermaid, "dot": drawing.dot, "svg": drawing.svg}


def run(
    paths: Sequence[Path],
    *,
    form: str,
    around: str | None,
    reload: Path | None,
    **selection: Any,
) -> int:
    """Print the plugins below `paths` and what depends on what; return the exit code.

    Raises:
        click.UsageError: a folder does not exist, none is given, or no plugin is called `around`.
    """
    project = project_of("graph", paths, **selection)
    if reload is not None and reload.expanduser().is_dir():
        raise click.UsageError(f"{reload}: is a folder; name a file in it")
    for place, error in project.errors.items():
        if place not in project.sources:
            say(short(masked_text(said(error))))
    start = Start(project)
    nodes = start.nodes
    if around is not None:
        shown = {str(each) for each in project.graph.around([_ref(around, project)])}
        nodes = [each for each in nodes if each.name in shown]
    plan: ReloadPlan | str | None = None
    if reload is not None:
        plan = save(start, os.path.normpath(reload.expanduser().absolute()))
        if not isinstance(plan, str):
            loads = {str(each.ref): each.load.value for each in _set_up(plan) if each.load}
            nodes = [replace(each, load=loads.get(each.name, "")) for each in nodes]
    if form in _DRAWN:
        lines: Iterable[str] = _DRAWN[form](nodes).split("\n")
    elif form == "json":
        lines = [printable_json(json.dumps(_as_json(nodes, plan), ensure_ascii=False))]
    elif plan is None:
        lines = _tree(nodes, project)
    else:
        lines = _steps(short(str(reload)), plan, len(project.plugins))
    for line in lines:
        click.echo(printable_styled(line))
    return 0


def _ref(text: str, project: Project) -> PluginRef:
    """Return the plugin called `text`, which may be a name alone where only one has it."""
    refs = {str(ref): ref for ref in sorted(project.plugins)}
    try:
        return refs[ref_called(text, [*refs])]
    except LookupError as error:
        raise click.UsageError(str(error)) from error


def _tree(nodes: Sequence[Node], project: Project) -> Iterator[str]:
    failed, waiting = (sum(each.look == look for each in nodes) for look in ("failed", "blocked"))
    count = counted(len(nodes), "plugin")
    if failed or waiting:
        yield click.style(f"{count}, {failed} cannot be set up, {waiting} waiting", "yellow")
    else:
        yield click.style(count, "green")
    named = {each.name: each for each in nodes}
    known = {*named, *(name for ref in project.broken for name in (str(ref), ref.name))}
    for prefix, name, _, others in tree(named, lambda name: named[name].depends_on):
        each = named[name]
        line = prefix + click.style(short(name), bold=True)
        if others:
            line += click.style(f"  + {', '.join(others)}", dim=True)
        if each.error:
            line += click.style(f"  {short(each.error)}", "red")
        elif each.waits_for:
            whom = (
                want if want in known else f"{want}, which does not exist"
                for want in each.waits_for
            )
            line += click.style(f"  waits for {', '.join(whom)}", "yellow")
        yield line


def _steps(file: str, plan: ReloadPlan | str, total: int) -> Iterator[str]:
    """Yield what a save of `file` would do, step by step."""
    if isinstance(plan, str):
        yield f"{file}: a save reloads nothing: {plan}"
        return
    steps = [*plan.actions()]
    number = len({str(step.ref) for _, step in steps})
    yield click.style(f"{file}: a save reloads {number} of {total} plugins", bold=True)
    width = max((len(str(step.ref)) for _, step in steps), default=0)
    for what, step in steps:
        why = "" if what == "set up" else short(str(step.error or step.reason))
        line = f"  {what:<9}  {step.ref!s:<{width}}"
        yield line + click.style(f"  {why}", dim=True) if why else line.rstrip()


def _set_up(plan: ReloadPlan) -> Iterator[Step]:
    return (step for part in plan.transactions for step in part.set_up)


def _as_json(nodes: Sequence[Node], plan: ReloadPlan | str | None) -> dict[str, Any]:
    found: dict[str, Any] = {
        "plugins": [
            {
                "plugin": each.name,
                "path": each.path,
                "runtime": each.runtimes,
                "depends_on": each.depends_on,
                "error": each.error or None,
                "waits_for": each.waits_for,
            }
            for each in nodes
        ]
    }
    if isinstance(plan, str):
        found["reload"] = {"reason": plan, "steps": []}
    elif plan is not None:
        found["reload"] = {
            "reason": None,
            "steps": [
                {"plugin": str(step.ref), "step": what, "reason": step.reason}
                for what, step in plan.actions()
            ],
        }
    return found
