"""Commands that ask a running server, or have it do something."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from dagstack_dev.cli.output import OutputFile, printable, say
from dagstack_dev.cli.settings import SettledCommand, setting
from dagstack_dev.cli.wording import age, at, short

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from click.shell_completion import CompletionItem

    from dagstack_dev.cli.remote import Remote

NOT_CURRENT_EXIT_CODE: Final = 1
"""How `reload`, `wait` and `call` end where what runs is not what is on disk, or a call raises."""

COMMANDS: Final[list[click.Command]] = []
"""All of them, for the main command."""

SERVER = setting(
    "--server",
    metavar="PATH",
    type=click.Path(path_type=Path),
    help="A socket, or a folder that the server watches; by default the one you are in.",
)
"""Which server is asked."""

_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
_TIMEOUT = click.option(
    "--timeout",
    metavar="SECONDS",
    type=click.FloatRange(0, 3600, min_open=True),
    default=60,
    show_default=True,
    help="How long to wait for it.",
)
_LEVEL = click.option(
    "--level",
    type=click.Choice(["debug", "info", "warning", "error"], case_sensitive=False),
    help="The lowest level to show.",
)


def _remote(server: Path | None, *, is_quiet: bool = False) -> Remote:
    from dagstack_dev.cli.remote import Remote  # noqa: PLC0415 - keeps --help fast

    return Remote(server, is_quiet=is_quiet)


def _print_json(value: Any) -> None:
    """Print `value` as JSON on one line, for a program."""
    click.echo(json.dumps(value, ensure_ascii=False))


def _complete(ctx: click.Context, _: click.Parameter, typed: str) -> list[CompletionItem]:
    """Complete the names of plugins; without a server there are none."""
    from click.shell_completion import CompletionItem  # noqa: PLC0415 - only where it is used

    try:
        known = _remote(ctx.params.get("server"), is_quiet=True).get("status")["plugins"]
    except click.ClickException:
        return []
    return [CompletionItem(each["plugin"]) for each in known if each["plugin"].startswith(typed)]


_REFS = click.argument("refs", nargs=-1, metavar="[REF]...", shell_complete=_complete)
_REF = click.argument("ref", metavar="REF", shell_complete=_complete)


def _command(function: Callable[..., Any]) -> click.Command:
    command = click.command(cls=SettledCommand)(function)
    COMMANDS.append(command)
    return command


@_command
@_REFS
@SERVER
@_JSON
def status(refs: Sequence[str], server: Path | None, *, as_json: bool) -> int:
    """Show how the plugins are doing, or everything about some.

    With a REF, such as tool/greeter or just greeter, everything about that plugin. Exits with 0
    when all that is asked about runs what is on disk, with 1 otherwise, with 4 without a server.
    """
    from dagstack_dev.cli import status as view  # noqa: PLC0415 - keeps --help fast

    remote = _remote(server)
    if not refs:
        found = remote.get("status")
        if as_json:
            _print_json(found)
        else:
            view.show(view.summary(found))
        return 0 if found["is_current"] else NOT_CURRENT_EXIT_CODE
    details = [remote.get("plugins", *remote.ref(ref).split("/", 1)) for ref in refs]
    if as_json:
        _print_json(details)
    else:
        for each in details:
            view.show(view.detail(each))
    return _exit_code(details)


@_command
@_REFS
@click.option("--all", "everything", is_flag=True, help="All plugins, though nothing changed.")
@_TIMEOUT
@SERVER
@_JSON
def reload(
    refs: Sequence[str], server: Path | None, timeout: float, *, everything: bool, as_json: bool
) -> int:
    """Reload plugins though nothing changed, and wait for the end.

    Name them, or say --all. Exits with 0 only when what runs of them is what is on disk.
    """
    if not refs and not everything:
        raise click.UsageError("name a plugin, or say --all; `wait` takes in what is on disk")
    return _reload(refs, server, timeout, everything=everything, as_json=as_json)


@_command
@_TIMEOUT
@SERVER
@_JSON
def wait(server: Path | None, timeout: float, *, as_json: bool) -> int:
    """Wait until all that is on disk now has been dealt with.

    Exits with 0 only when what runs is what is on disk.
    """
    return _reload((), server, timeout, everything=False, as_json=as_json)


def _reload(
    refs: Sequence[str], server: Path | None, timeout: float, *, everything: bool, as_json: bool
) -> int:
    from dagstack_dev.cli import status as view  # noqa: PLC0415 - keeps --help fast

    remote = _remote(server)
    wanted = [remote.ref(ref) for ref in refs]
    found = remote.post("reload", plugins=wanted, everything=everything, timeout_seconds=timeout)
    if as_json:
        _print_json(found)
    else:
        view.show(view.summary(found))
    if not wanted:
        return 0 if found["is_current"] else NOT_CURRENT_EXIT_CODE
    return _exit_code([each for each in found["plugins"] if each["plugin"] in wanted])


@_command
@_REF
@click.argument("method")
@click.argument("arguments", nargs=-1, metavar="[NAME=VALUE]...")
@click.option("--json-args", metavar="JSON", help="Arguments as one JSON object.")
@_TIMEOUT
@SERVER
@_JSON
def call(
    ref: str,
    method: str,
    arguments: Sequence[str],
    json_args: str | None,
    server: Path | None,
    timeout: float,
    *,
    as_json: bool,
) -> int:
    """Call METHOD of the plugin REF, and print what it returns.

    Values are read as the method's annotations say: `dagstack-dev call tool/greeter greet name=Ada
    times=3`. Exits with 1 when the method raises.
    """
    given = _json_object(json_args) if json_args is not None else _pairs(arguments)
    if json_args is not None and arguments:
        raise click.UsageError("give NAME=VALUE or --json-args, not both")
    remote = _remote(server)
    answer = remote.post(
        "call",
        plugin=remote.ref(ref),
        method=method,
        arguments=given,
        coerce=json_args is None,
        timeout_seconds=timeout,
    )
    if as_json:
        _print_json(answer)
    elif answer["error"] is not None:
        error = answer["error"]
        click.echo(printable(short(f"{error['type']}: {error['message']}")), err=True)
        for frame in (each["frame"] for each in answer["account"] if each["frame"]):
            named = f" in {frame['function']}" if frame["function"] else ""
            place = f"{at(frame['path'], frame['line'], '    ')}{named}"
            click.echo(printable(place), err=True)
    elif answer["text"] is not None:
        click.echo(printable(answer["text"]))
    else:
        result = answer["result"]
        text = (
            result if isinstance(result, str) else json.dumps(result, indent=2, ensure_ascii=False)
        )
        click.echo(printable(text))
    return 0 if answer["error"] is None else NOT_CURRENT_EXIT_CODE


_SOME_REF = click.argument("ref", required=False, shell_complete=_complete)
_FOLLOW = click.option("-f", "--follow", is_flag=True, help="Go on with what comes from now on.")
_SINCE = click.option("--since", metavar="SECONDS", type=float, help="Only of the last SECONDS.")
_LIMIT = click.option(
    "-n",
    "--limit",
    type=click.IntRange(0),
    default=100,
    show_default=True,
    help="How many of those before.",
)


def _events_command(function: Callable[..., Any]) -> click.Command:
    """Make a command that shows events, with the options of all such."""
    for option in (_JSON, SERVER, _LIMIT, _SINCE, _LEVEL, _FOLLOW, _SOME_REF):
        function = option(function)
    return _command(function)


@_events_command
def logs(**options: Any) -> int:
    """Show what has been logged, or what one plugin has logged."""
    return _show((("logs",), ("logs", "stream")), **options)


@_events_command
def events(**options: Any) -> int:
    """Show what has happened to the plugins, or to one of them.

    `dagstack-dev docs logs` lists the events and their fields.
    """
    return _show((("events", "last"), ("events",)), **options)


def _show(
    what: tuple[tuple[str, ...], tuple[str, ...]],
    *,
    ref: str | None,
    level: str | None,
    since: float | None,
    limit: int,
    server: Path | None,
    follow: bool,
    as_json: bool,
) -> int:
    """Print the last events, and with `follow` those after them; `what` says where both are."""
    last, stream = what
    from dagstack_dev.cli.status import event_line  # noqa: PLC0415 - keeps --help fast

    remote = _remote(server)
    select = {"plugin": remote.ref(ref) if ref else None, "level": level}
    found = remote.get(*last, limit=limit, **select)

    def show(event: Mapping[str, Any]) -> None:
        if as_json:
            _print_json(event)
        else:
            click.echo(event_line(event))

    try:
        for event in found["events"]:
            if since is None or age(event["timestamp"]) <= since:
                show(event)
        if follow:
            for _, event in remote.stream(*stream, after=found["last"], **select):
                show(event)
            say("the server has ended")
    except BrokenPipeError:  # As by `| head`: the reader has seen enough.
        OutputFile(1, "standard output").to_nowhere()
    return 0


@_command
@click.option("--open/--no-open", "opens", default=True, help="Whether to open it in the browser.")
@click.option(
    "--agents", is_flag=True, help="Print the address and header for coding agents instead."
)
@SERVER
@_JSON
def page(server: Path | None, *, opens: bool, agents: bool, as_json: bool) -> int:
    """Open the dev page in the browser, and print its address.

    The server serves it from then on. The address lets any browser in; keep it to yourself.
    """
    from dagstack_dev.cli.places import open_externally  # noqa: PLC0415 - keeps --help fast
    from dagstack_dev.page.access import address_in, agents_in  # noqa: PLC0415 - likewise

    found = _remote(server).post("page")
    file = Path(found["file"])
    address, (agents_url, agents_token) = address_in(file), agents_in(file)
    if as_json:
        told = {"address": address, "agents_url": agents_url, "agents_token": agents_token}
        _print_json(found | told)
        return 0
    if agents:
        click.echo(f"{agents_url}\nAuthorization: Bearer {agents_token}")
        return 0
    click.echo(address)
    if opens:
        try:
            open_externally(found["file"])
        except OSError as error:
            say(f"it cannot be opened here: {error}")
    return 0


@_command
@SERVER
def pause(server: Path | None) -> int:
    """Let edits wait: nothing is reloaded until `resume`."""
    return _simple(server, "pause", paused=True)


@_command
@SERVER
def resume(server: Path | None) -> int:
    """Deal with the edits that have waited, and with those to come."""
    return _simple(server, "pause", paused=False)


@_command
@SERVER
def stop(server: Path | None) -> int:
    """Have the server tear everything down and end."""
    return _simple(server, "stop")


def _simple(server: Path | None, what: str, **body: Any) -> int:

    click.echo(_remote(server).post(what, **body)["message"])
    return 0


def _exit_code(plugins: Sequence[Mapping[str, Any]]) -> int:
    return 0 if all(each["receipt"]["is_current"] for each in plugins) else NOT_CURRENT_EXIT_CODE


def _pairs(arguments: Sequence[str]) -> dict[str, str]:
    """Return NAME=VALUE as names and values.

    Raises:
        click.UsageError: one has no name, or that of another.
    """
    given: dict[str, str] = {}
    for each in arguments:
        name, equals, value = each.partition("=")
        if not equals or not name.isidentifier():
            named = f"name={value if equals and not name else each}"
            raise click.UsageError(
                f"{each!r} is not NAME=VALUE; write the parameter's name before it, such as "
                f"{shlex.quote(named)}"
            )
        if name in given:
            raise click.UsageError(f"{name}= is given twice; write a list as '{name}=[1, 2]'")
        given[name] = value
    return given


def _json_object(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError as error:
        raise click.UsageError(f"--json-args is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise click.UsageError('--json-args is no object, such as {"times": 3}')
    return value
