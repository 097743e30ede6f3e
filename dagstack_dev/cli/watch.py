"""`dagstack-dev watch`."""

from __future__ import annotations

import asyncio
import builtins
import glob
import os
import signal
import stat
import traceback
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final, TypeVar, cast

import anyio
import click

from dagstack_dev.app.entry_points import DEFAULT_GROUP
from dagstack_dev.app.local_api import LocalApi, can_serve
from dagstack_dev.app.registry import PluginRegistry
from dagstack_dev.app.reload.recorder import Recorder
from dagstack_dev.app.server import DevServer
from dagstack_dev.app.services import with_services
from dagstack_dev.app.settings import Settings
from dagstack_dev.cli.keys import Keys, can_read
from dagstack_dev.cli.leftovers import end_in_spite_of, threads_left
from dagstack_dev.cli.log_lines import LogFormat
from dagstack_dev.cli.log_stream import LogStream, open_log_file
from dagstack_dev.cli.output import StandardOutput, printable, say
from dagstack_dev.cli.places import Editor
from dagstack_dev.cli.process import ProcessGuard, end_if_forked, end_tasks
from dagstack_dev.cli.progress import Progress
from dagstack_dev.cli.screen import Screen
from dagstack_dev.cli.settings import no_paths
from dagstack_dev.cli.signals import Ending
from dagstack_dev.cli.terminal import Terminal
from dagstack_dev.cli.trace_file import TraceFile
from dagstack_dev.cli.wording import at, short
from dagstack_dev.core.blame import plugin_frames, root_error
from dagstack_dev.core.errors.base import in_words
from dagstack_dev.core.errors.files import ConfigInvalid, HookspecsInvalid
from dagstack_dev.core.events import Leaks, PluginLeaked
from dagstack_dev.core.secrets import masked_text
from dagstack_dev.host.loop.tasks import ctrl_c_raises
from dagstack_dev.host.registry.registry import CORE_VERSION
from dagstack_dev.host.services.context import PluginContext

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Sequence
    from types import TracebackType

    from dagstack_dev.core.events import Fact
    from dagstack_dev.core.ports import Observer

T = TypeVar("T")

LEAK_EXIT_CODE: Final = 3
"""How a run ends that was asked to take leaks for errors and has seen one."""

_BUILTINS: Final = {name: vars(builtins)[name] for name in ("open", "print")}

KEEP_SECONDS: Final = 0.5
"""How often it is looked at whether a plugin has taken Ctrl-C or the keyboard from us."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchOptions:
    """The arguments of the command, as click parsed them."""

    paths: tuple[Path, ...]
    config_file: Path | None
    core_version: str | None
    entry_points: bool
    hookspec_files: tuple[Path, ...]
    ignore: tuple[str, ...]
    gitignore: bool
    leaks: str
    polling: bool
    settle_ms: int
    log_format: str | None
    log_level: str
    log_file: Path | None
    trace_file: Path | None
    code_roots: tuple[Path, ...]
    state_folder: Path | None
    page: bool
    page_port: int | None
    read_only: bool
    expose: tuple[str, ...]
    keys: bool
    editor: str | None


def run(options: WatchOptions) -> int:
    """Watch until a signal; return the exit code.

    Raises:
        click.UsageError: an argument cannot be used; exit code 2.
        click.ClickException: this program itself is at fault; exit code 1.
    """
    if not options.paths and not options.entry_points:
        raise no_paths("watch")
    ending = Ending()
    form = _log_format(options)
    ignored = (*options.ignore, *_own_output_patterns(options))
    log_file = _opened("--log-file", options.log_file, open_log_file)
    trace_file = _opened("--trace", options.trace_file, TraceFile)
    shared = form is LogFormat.CONSOLE
    has_keys = shared and options.keys and can_read()
    output = StandardOutput(shared=shared, on_closed=ending.ask)
    editor = _editor(options)
    console = Screen(cast("IO[str]", output), editor=editor)
    api = _api(options, editor, ending)
    stream = LogStream(
        form=form,
        level=options.log_level,
        console=console,
        file=log_file,
        plugin_of_path=lambda path: registry.table.code.plugin_at(path),  # noqa: PLW0108 - it comes below
        publish=None if api is None else api.board.logs.publish,
        can_change=has_keys,
    )
    stream.take_all()
    ending.on_signals()
    registry = PluginRegistry(
        core_version=options.core_version or CORE_VERSION,
        observer=_unfailing(stream.write_fact),
    )
    terminal = Terminal(registry, console)
    leaks = _LeakCounter(Leaks(options.leaks))
    registry.observe(leaks)
    state_folder = options.state_folder and options.state_folder.expanduser().resolve()
    context = with_services(
        PluginContext(config={}, logger=stream.logger("plugins"), registry=registry),
        state_folder=state_folder,
    )
    server = DevServer(
        *options.paths,
        code_roots=options.code_roots,
        context=context,
        settings=Settings(
            settle_ms=options.settle_ms,
            ignore=ignored,
            gitignore=options.gitignore,
            polling=options.polling,
            config_file=options.config_file,
            hookspec_files=options.hookspec_files,
            entry_points=DEFAULT_GROUP if options.entry_points else None,
            leaks=leaks.policy,
        ),
        api=api,
    )
    guard = ProcessGuard(registry, ending)
    keys = Keys(server, terminal, stream, console, editor, ending, api) if has_keys else None
    progress = None
    if keys is not None and not console.is_dumb_terminal:
        progress = Progress(output, console, keys.is_lent)
    for observer in (progress, terminal if shared else None):
        if observer is not None:
            registry.observe(_unfailing(observer))
    if trace_file is not None:
        registry.observe(_unfailing(Recorder(trace_file.write)))
    show_page = partial(_show_page, api, terminal) if shared and api is not None else None
    serve = partial(_serve, server, guard, leaks, show_page, keys, progress)
    try:
        _run(serve, guard, options)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)  # At the end of Python an alarm would be fatal.
    left = threads_left()
    end_in_spite_of(left, leaks.exit_code(left))
    return leaks.exit_code(left)


def _run(serve: Callable[[], Awaitable[None]], guard: ProcessGuard, options: WatchOptions) -> None:
    """Run `serve` in an event loop to its end.

    Raises:
        As `run`.
    """
    try:
        anyio.run(serve, backend_options={"loop_factory": guard.make_loop})
    except (FileNotFoundError, ConfigInvalid, HookspecsInvalid) as error:
        raise click.UsageError(short(str(error))) from error
    except asyncio.CancelledError as error:
        msg = (
            "plugin code cancelled the server's own task and so ended it; "
            "cancel only tasks that the plugin has started"
        )
        raise click.ClickException(msg) from error
    except BaseException as error:
        raise _fault(error, options) from error


def _api(options: WatchOptions, editor: Editor, ending: Ending) -> LocalApi | None:
    """Return what answers for the server; None without the extra."""
    if can_serve():
        return LocalApi(
            page=options.page,
            page_port=options.page_port,
            read_only=options.read_only,
            expose=options.expose,
            on_stop=ending.ask,
            on_open=editor.open,
        )
    if options.page:
        raise click.UsageError("--page needs an extra: pip install 'dagstack-dev[api]'")
    return None


def _show_page(api: LocalApi, terminal: Terminal) -> None:
    """Print where the dev page is, if it is served."""
    if api.page is not None:
        terminal.show_page(api.page)


async def _serve(
    server: DevServer,
    guard: ProcessGuard,
    leaks: _LeakCounter,
    show_page: Callable[[], None] | None,
    keys: Keys | None,
    progress: Progress | None,
) -> None:
    """Run the server until it is asked to end."""
    ctrl_c_raises.set(False)
    loop = asyncio.get_running_loop()

    def end() -> None:
        if keys is not None:
            keys.end()
        scope.cancel()

    with (
        anyio.CancelScope() as scope,
        guard.ending.calling(end, loop),
        keys.read() if keys is not None else nullcontext(lambda: None) as keep_keyboard,
        progress.shown() if progress is not None else nullcontext(),
    ):
        async with server:
            if show_page is not None:
                show_page()
            if keys is not None:
                keys.begin()
            while True:
                guard.keep_signals()
                keep_keyboard()
                await anyio.sleep(KEEP_SECONDS)
    left = await end_tasks()
    if left:  # asyncio would wait for them for ever.
        left += threads_left()
        end_in_spite_of(left, leaks.exit_code(left))


def _unfailing(observer: Observer) -> Observer:
    """Make an observer that survives what it cannot show, as some error of a plugin may be."""

    def observe(fact: Fact, /) -> None:
        end_if_forked()
        try:
            observer(fact)
        except Exception as error:  # noqa: BLE001 - whatever the values of a plugin raise
            say(f"{type(fact).__name__} cannot be shown: {in_words(error)}")

    return observe


def _log_format(options: WatchOptions) -> LogFormat:
    if options.log_format is not None:
        return LogFormat(options.log_format)
    return LogFormat.CONSOLE if os.isatty(1) else LogFormat.JSON


def _opened(option: str, path: Path | None, opened: Callable[[str], T]) -> T | None:
    """Return what `opened` makes of the file of an option, if it is given.

    Raises:
        click.UsageError: the file cannot be written.
    """
    try:
        return None if path is None else opened(str(path))
    except OSError as error:
        raise click.UsageError(f"{option} {path}: {error.strerror}") from error


def _editor(options: WatchOptions) -> Editor:
    try:
        return Editor(options.editor)
    except ValueError as error:
        raise click.UsageError(f"--editor {error}") from error


def _own_output_patterns(options: WatchOptions) -> Iterator[str]:
    """Yield what to ignore so that our own output into a watched folder is no change of it."""
    written = [each.resolve() for each in (options.log_file, options.trace_file) if each]
    if options.state_folder is not None:
        written.append(options.state_folder.expanduser().resolve())
    with suppress(OSError):  # It may be closed.
        if stat.S_ISREG(os.fstat(1).st_mode):
            written.append(Path("/dev/fd/1").resolve())
    for path in options.paths:
        root = path.expanduser().resolve()
        for file in written:
            if file.is_relative_to(root):
                yield "/" + glob.escape(str(file.relative_to(root)))


def _fault(error: BaseException, options: WatchOptions) -> click.ClickException:
    """Describe in a line what should not end the server; with the traceback at level `debug`."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    root = root_error(error)
    debug = options.log_level == "debug"
    if debug:
        lines = masked_text("".join(traceback.format_exception(error)))
        click.echo(printable(lines), nl=False, err=True)
    if culprits := plugin_frames(root):
        place = at(culprits[-1].path, culprits[-1].line, " at ")
        whose = "plugin code broke what the server runs on and ended it"
    else:
        place = _place(root.__traceback__)
        whose = "a defect of dagstack-dev ended it"
    broken = [name for name, value in _BUILTINS.items() if vars(builtins).get(name) is not value]
    if broken:
        whose = f"plugin code replaced builtins.{', builtins.'.join(broken)}, and that ended it"
    hint = "" if debug else "; --log-level debug shows where it comes from"
    return click.ClickException(f"{whose}: {in_words(root)}{place}{hint}")


def _place(step: TracebackType | None) -> str:
    """Find the innermost line, without the help of modules that may be broken."""
    place = ""
    while step is not None:
        place = at(step.tb_frame.f_code.co_filename, step.tb_lineno, " at ")
        step = step.tb_next
    return place


class _LeakCounter:
    """Counts the leaks that are errors; an observer."""

    def __init__(self, policy: Leaks) -> None:
        self.policy = policy
        self._errors = 0

    def __call__(self, fact: Fact, /) -> None:
        if isinstance(fact, PluginLeaked) and fact.is_error:
            self._errors += 1

    def exit_code(self, left: Sequence[str]) -> int:
        """Return how the run ends when the threads and tasks of `left` are still there."""
        return LEAK_EXIT_CODE if self._errors or (left and self.policy is Leaks.ERROR) else 0
