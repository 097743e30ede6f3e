"""How the plugins of a running server are doing, for a person."""

from __future__ import annotations

from datetime import datetime
from textwrap import shorten
from typing import TYPE_CHECKING, Any, Final

import click

from dagstack_dev.cli.output import printable, printable_styled
from dagstack_dev.cli.wording import ago, duration, short, spaced
from dagstack_dev.core.wording import counted
from dagstack_dev.static.tree import tree

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

_COLOURS: Final = {"ready": "green", "failed": "red", "blocked": "yellow"}

_REASON: Final = 100
"""How many characters of a reason a line has room for."""

_QUIET: Final = ("debug", "info")
_NOTHING: Final[tuple[object, ...]] = (None, "", [], {})


def show(lines: Iterator[str]) -> None:
    """Print lines; without colours where standard output is no terminal."""
    for line in lines:
        click.echo(line)


def summary(status: Mapping[str, Any]) -> Iterator[str]:
    """Yield the server in a line or two, and all its plugins as a tree."""
    plugins = status["plugins"]
    yield from _server(status)
    by_ref = {each["plugin"]: each for each in plugins}
    drawn = [*tree(by_ref, lambda ref: by_ref[ref]["depends_on"])]
    width = max((len(each.prefix + each.key) for each in drawn), default=0)
    for each in drawn:
        yield each.prefix + _line(by_ref[each.key], width - len(each.prefix))


def _server(status: Mapping[str, Any]) -> Iterator[str]:
    current = sum(each["receipt"]["is_current"] for each in status["plugins"])
    total = status["total"]
    count = counted(total, "plugin")
    loop = status["main_loop"]
    if status["is_current"]:
        yield click.style(f"{count}, all as on disk", "green")
    elif not loop["is_responding"]:
        yield click.style(f"{count}, none known to be as on disk", "yellow")
    elif current == total:
        yield click.style(count, "yellow")
    else:
        yield click.style(f"{count}, {current} as on disk", "yellow")
    if status["is_paused"]:
        yield click.style("paused: edits wait; go on with: dagstack-dev resume", "yellow")
    if status["is_busy"]:
        yield "a reload is under way"
    if status["page"]:
        yield f"page: {status['page']}; open it with: dagstack-dev page"
    for path, why in status["refused"].items():
        yield printable_styled(click.style(_first_line(f"{path}: {why}"), "red"))
    if not loop["is_responding"]:
        whose = f" by {loop['plugin']}" if loop["plugin"] else ""
        where = f" at {short(loop['at'])}" if loop["at"] else ""
        seconds = f"{'at least ' * loop['is_at_least']}{loop['blocked_seconds']:.1f} s"
        yield click.style(f"the event loop has been blocked{whose} for {seconds}{where}", "red")


def _line(plugin: Mapping[str, Any], width: int) -> str:
    receipt = plugin["receipt"]
    state = plugin["state"]
    shown = click.style(spaced(state), _COLOURS.get(state, "bright_black"))
    line = f"{plugin['plugin']:<{width}} {shown}"
    if receipt["generation"]:
        line += click.style(f"  generation {receipt['generation']}", dim=True)
    if plugin["setup_ms"] is not None and state == "ready":
        line += click.style(f"  setup {duration(plugin['setup_ms'])}", dim=True)
    if receipt["pending"]:
        line += click.style("  not what is on disk", "yellow")
    if receipt["reason"]:
        line += click.style(f"  {shorten(_first_line(receipt['reason']), _REASON)}", "yellow")
    if plugin["degraded"]:
        line += click.style("  degraded", "yellow")
    if plugin["requires_restart"]:
        line += click.style("  needs a restart", "yellow")
    if len(receipt["because"]) > 1:
        line += click.style(
            f"  <- {' <- '.join(map(_first_line, receipt['because'][1:]))}", "yellow"
        )
    return printable_styled(line)


def _first_line(text: str) -> str:
    return short(text.partition("\n")[0])


def detail(plugin: Mapping[str, Any]) -> Iterator[str]:
    """Yield everything about one plugin."""
    receipt = plugin["receipt"]
    state = plugin["state"]
    yield f"{click.style(plugin['plugin'], bold=True)}  " + click.style(
        f"{spaced(state)} for {ago(plugin['since'])}", _COLOURS.get(state, "bright_black")
    )
    rows: list[tuple[str, str]] = []
    if receipt["is_current"]:
        rows.append(("disk", f"what runs is on disk ({receipt['running'][:12]})"))
    elif receipt["pending"]:
        since = f" for {ago(receipt['pending_since'])}" if receipt["pending_since"] else ""
        rows.append(("pending", f"{receipt['pending']}{since}"))
    elif receipt["reason"]:
        rows.append(("disk", receipt["reason"]))
    if len(receipt["because"]) > 1:
        rows.append(("because", " <- ".join(receipt["because"])))
    if plugin["error"] and not receipt["pending"]:
        rows.append(("error", _words(plugin["error"])))
    rows += [
        ("folder", plugin["path"] or "registered by the app"),
        ("generation", str(receipt["generation"])),
        ("depends on", ", ".join(plugin["depends_on"]) or "nothing"),
        ("needed by", ", ".join(plugin["dependents"]) or "nothing"),
    ]
    if plugin["setup_ms"] is not None:
        rows.append(("setup", duration(plugin["setup_ms"])))
    reload = plugin["last_reload"]
    if reload is not None:
        mine = [each for each in reload["spans"] if each["plugin"] == plugin["plugin"]]
        steps = ", ".join(f"{each['step']} {duration(each['ms'])}" for each in mine)
        outcome = reload["outcome"].replace("_", " ")
        took = f"{outcome} in {duration(reload['duration_ms'])}, {ago(reload['ended'])} ago"
        rows.append(("last reload", f"{took}{': ' if steps else ''}{steps}"))
    if plugin["degraded"]:
        rows.append(("health", "degraded: its last health check failed"))
    if plugin["requires_restart"]:
        rows.append(("restart", "something of it stays until the process ends"))
    rows += [("leak", each) for each in plugin["leaks"]]
    yield from _rows(rows)
    for method in plugin["methods"]:
        place = f"  {short(method['path'])}:{method['line']}" if method["path"] else ""
        yield printable_styled(
            f"  {method['name']}{method['signature']}{click.style(place, dim=True)}"
        )


def event_line(event: Mapping[str, Any]) -> str:
    """Return one event as a line: `11:00:03 tool/greeter  plugin.ready  generation=2`."""
    fields = dict(event["fields"])
    at = datetime.fromisoformat(event["timestamp"]).astimezone().strftime("%H:%M:%S")
    whose = fields.pop("plugin", None) or fields.get("logger") or ""
    fields.pop("logger", None)
    level = "" if event["level"] in _QUIET else click.style(f"{event['level']}  ", "red")
    said = "".join(
        f"  {name}={short(_words(value))}"
        for name, value in fields.items()
        if value not in _NOTHING
    )
    line = f"{click.style(at, dim=True)} {click.style(whose, 'cyan')}  {level}{event['event']}"
    return printable_styled(line + click.style(said, dim=True))


def _words(value: object) -> str:
    """Return the value of a field as a person reads it, and an error in it with its place."""
    match value:
        case {"type": kind, "message": message, "path": path, "line": line}:
            place = f"{path}:{line}" if line else path
            where = f" at {place}" if place and place not in message else ""
            return f"{kind}: {message}{where}"
        case dict():
            return ", ".join(f"{name}: {_words(each)}" for name, each in value.items())
        case list():
            return ", ".join(map(_words, value))
        case _:
            return str(value)


def _rows(rows: Sequence[tuple[str, str]]) -> Iterator[str]:
    width = max(len(name) for name, _ in rows)
    for name, value in rows:
        yield f"  {click.style(f'{name:<{width}}', dim=True)}  {printable(short(value))}"
