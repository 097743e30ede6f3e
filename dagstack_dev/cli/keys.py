"""What each key does in `dagstack-dev watch`."""

from __future__ import annotations

import asyncio
import os
import sys
import termios
from contextlib import contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Final

from anyio import to_thread
from rich.text import Text

from dagstack_dev.cli.failures import names
from dagstack_dev.cli.keyboard import Keyboard
from dagstack_dev.cli.leftovers import at_the_end
from dagstack_dev.cli.output import say
from dagstack_dev.cli.places import open_externally
from dagstack_dev.cli.remarks import busy_method
from dagstack_dev.cli.screen import timed
from dagstack_dev.cli.wording import at
from dagstack_dev.core.errors.base import in_words
from dagstack_dev.host.loop.tasks import spawn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from dagstack_dev.app.local_api import LocalApi
    from dagstack_dev.app.server import DevServer
    from dagstack_dev.cli.log_stream import LogStream
    from dagstack_dev.cli.places import Editor
    from dagstack_dev.cli.screen import Screen
    from dagstack_dev.cli.signals import Ending
    from dagstack_dev.cli.terminal import Terminal
    from dagstack_dev.core.events import PluginBlocking

LEVELS: Final = ("error", "warning", "info", "debug")


class Keys:
    """Does what is asked for by a key.

    Args:
        server: what runs.
        terminal: what shows it.
        stream: what is logged.
        console: where to print.
        editor: where places are opened.
        ending: asked when the program is to end.
        api: serves the dev page; None without its extra.
    """

    def __init__(
        self,
        server: DevServer,
        terminal: Terminal,
        stream: LogStream,
        console: Screen,
        editor: Editor,
        ending: Ending,
        api: LocalApi | None,
    ) -> None:
        self._server = server
        self._stream = stream
        self._console = console
        self._terminal = terminal
        self._editor = editor
        self._ending = ending
        self._api = api
        self._keyboard: Keyboard | None = None
        self._is_up = False
        self._actions: dict[str, tuple[str, Callable[[], object]]] = {
            "r": ("reload all plugins", self._reload),
            "s": ("how the plugins are doing", self._status),
            "g": ("the plugins as a tree of what depends on what", terminal.show_tree),
            "e": ("the failures that are not mended, again", terminal.show_failures),
            "o": ("open the dev page in the browser", self._open_page),
            "f": ("open the line of the last failure in the editor", self._open_failure),
            "p": ("pause: let edits wait; again: take them in", self._pause),
            "l": ("the next log level", self._next_level),
            "c": ("clear the screen; what was there stays above", self._clear),
            "h": ("this list", self._help),
            "q": ("quit: tear everything down", self._quit),
            "\n": ("an empty line", console.print),
        }

    @contextmanager
    def read(self) -> Iterator[Callable[[], None]]:
        """Read keys in this block; what it yields is to be called now and then."""
        try:
            keyboard = Keyboard(self.press, self._lost)
        except (OSError, termios.error):  # It is a terminal that cannot be opened again.
            yield lambda: None
            return
        at_the_end(keyboard.end)
        loop = asyncio.get_running_loop()
        self._server.registry.table.watchdog.while_blocked = partial(self._while_blocked, loop)
        try:
            self._keyboard = keyboard
            keyboard.begin(loop)
            yield keyboard.keep
        finally:
            keyboard.end()

    def begin(self) -> None:
        """The start has ended: let all keys act, and say that there are some."""
        self._is_up = True
        if self._keyboard is not None:
            self._console.print(Text("press h for help", "dim"))

    def end(self, blocking: PluginBlocking | None = None) -> None:
        """Give the keyboard back: the program is to end, and what is typed now is for the shell.

        Args:
            blocking: what keeps the program from ending at once, if that is known.
        """
        keyboard, self._keyboard = self._keyboard, None
        if keyboard is not None:
            keyboard.end()
            when = ""
            if blocking is not None:
                place = at(blocking.path, blocking.line)
                when = f" as soon as {busy_method(blocking)} returns{place}"
            self._say(f"ending{when}; Ctrl-C ends at once")

    def _while_blocked(self, loop: asyncio.AbstractEventLoop, fact: PluginBlocking) -> None:
        """Read the keys that the loop does not come to; in the thread that has noticed it."""
        keyboard = self._keyboard
        if keyboard is None:
            return
        before, is_quit, _ = (keyboard.take() or "").partition("q")
        for key in before:
            loop.call_soon_threadsafe(self.press, key)
        if is_quit:
            self._ending.ask()
        if self._ending.asked:  # By Ctrl-C, too.
            self.end(fact)

    def is_lent(self) -> bool:
        """Return whether something else reads the keyboard."""
        return self._keyboard is not None and self._keyboard.is_lent()

    def press(self, key: str) -> None:
        """Do what `key` stands for; what fails with that is reported."""
        if not self._is_up and key != "q":
            return
        _, action = self._actions.get(key, ("", lambda: None))
        try:
            action()
        except Exception as error:  # noqa: BLE001 - whatever the values of a plugin raise
            say(f"key {key}: {in_words(error)}")

    def _quit(self) -> None:
        self.end()
        self._ending.ask()

    def _lost(self) -> None:
        self._say("a plugin reads the keyboard by itself; there are no keys any more")

    def _say(self, text: str) -> None:
        self._console.print(timed(Text(text, "dim")))

    def _help(self) -> None:
        for key, (meaning, _) in self._actions.items():
            name = "Enter" if key == "\n" else key
            self._console.print(Text.assemble((f"  {name:<6}", "bold"), f"  {meaning}"))
        self._console.print(Text.assemble(("  Ctrl-C", "bold"), "  quit; again: at once"))

    def _status(self) -> None:
        self._terminal.show_status()
        if self._server.is_paused:
            edited = sorted(self._server.plugins_with_edits_waiting)
            whose = f" of {names(edited)}" if edited else ""
            self._console.print(Text(f"  paused: edits{whose} wait; p takes them in", "yellow"))

    def _reload(self) -> None:
        async def reload() -> None:
            with suppress(Exception):  # The server has failed, which it reports itself.
                await self._server.reload()

        waiting = "; edits wait, p takes them in" if self._server.has_edits_waiting else ""
        self._say(f"reloading all plugins{waiting}")
        spawn(reload, "dagstack-dev key r")

    def _open_failure(self) -> None:
        place = self._terminal.last_place
        if place is None:
            self._say("there is no failure to open")
        else:
            self._open(at(*place, ""), partial(self._editor.open, *place))

    def _open_page(self) -> None:
        if self._api is None:
            self._say("the dev page needs an extra: pip install 'dagstack-dev[api]'")
            return
        if self._api.page is None:
            self._terminal.show_page(self._api.serve_page())
        page = self._api.serve_page()
        self._open(page.url, partial(open_externally, str(page.file)))

    def _open(self, what: str, show: Callable[[], None]) -> None:
        """Have `what` shown, which may take a while, and report if that fails."""

        async def run() -> None:
            try:
                await to_thread.run_sync(show)
            except OSError as error:
                self._say(f"{what} cannot be opened: {error}")

        self._say(f"opening {what}")
        spawn(run, f"dagstack-dev opens {what}")

    def _pause(self) -> None:
        paused = not self._server.is_paused
        self._server.pause(paused=paused)
        self._say("paused: edits wait; p takes them in" if paused else "resumed")

    def _next_level(self) -> None:
        level = LEVELS[(LEVELS.index(self._stream.level) + 1) % len(LEVELS)]
        self._stream.level = level
        self._say(f"log level {level}")

    def _clear(self) -> None:
        """Scroll until the screen is empty: clearing it would lose what is on it."""
        self._console.file.write("\n" * (self._console.height - 1) + "\x1b[H\x1b[J")


def can_read() -> bool:
    """Return whether there is someone at a terminal who sees what we print."""
    return sys.stdin is not None and os.isatty(0) and os.isatty(1)
