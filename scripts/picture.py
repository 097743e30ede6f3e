"""Draws docs/watch.svg: the real command on a copy of the playground, while files are edited.

    .venv/bin/python scripts/picture.py

Nothing in the picture is made up: the program runs in a pseudo-terminal, and what it prints is
drawn. Run it again when the looks of the terminal have changed.
"""

from __future__ import annotations

import os
import pty
import re
import select
import shutil
import signal
import subprocess
import sys
import tempfile
from io import StringIO
from pathlib import Path
from time import monotonic

from rich.console import Console
from rich.terminal_theme import MONOKAI
from rich.text import Text

ROOT = Path(__file__).resolve().parents[1]
COLUMNS, LINES = 96, 60
PATIENCE_SECONDS = 20
COMMAND = (sys.executable, "-m", "dagstack_dev", "watch")

# rich's own template, without the web fonts that it would load from elsewhere.
TEMPLATE = """\
<svg class="rich-terminal" viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg">
<style>
.{unique_id}-matrix {{ font-family: ui-monospace, Menlo, Consolas, "DejaVu Sans Mono", monospace;
  font-size: {char_height}px; line-height: {line_height}px; font-variant-east-asian: full-width; }}
.{unique_id}-title {{ font-size: 18px; font-weight: bold; font-family: arial; }}
{styles}
</style>
<defs><clipPath id="{unique_id}-clip-terminal">
<rect x="0" y="0" width="{terminal_width}" height="{terminal_height}" /></clipPath>
{lines}</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}<g class="{unique_id}-matrix">{matrix}</g></g></svg>
"""


class Session:
    """The command in a pseudo-terminal; `seen` is all that it has printed.

    Args:
        folder: a copy of the playground's plugins and their configuration.
        options: of the command.
    """

    def __init__(self, folder: Path, *options: str) -> None:
        self.seen = ""
        self._terminal, child = pty.openpty()
        env = {**os.environ, "COLUMNS": str(COLUMNS), "LINES": str(LINES), "TERM": "xterm-256color"}
        self.process = subprocess.Popen(
            [*COMMAND, "plugins", "--config", "config.toml", *options],
            cwd=folder,
            stdin=child,
            stdout=child,
            stderr=child,
            env=env,
        )
        os.close(child)

    def wait_for(self, text: str) -> None:
        """Read on until `text` has been printed since the last call."""
        begin = len(self.seen)
        give_up_at = monotonic() + PATIENCE_SECONDS
        while text not in self.seen[begin:]:
            readable, _, _ = select.select([self._terminal], [], [], 0.1)
            if readable:
                self.seen += os.read(self._terminal, 65536).decode(errors="replace")
            elif monotonic() > give_up_at:
                message = f"{text!r} was not printed; so far:\n{self.seen}"
                raise TimeoutError(message)

    def stop(self) -> None:
        """Ctrl-C, and the rest of the output."""
        self.process.send_signal(signal.SIGINT)
        self.wait_for("torn down")
        self.process.wait(PATIENCE_SECONDS)


def copy_playground(folder: Path) -> None:
    """Put the plugins of the playground into `folder`, with a configuration of its own."""
    shutil.copytree(ROOT / "playground/plugins", folder / "plugins")
    config = '[store.settings]\npath = "settings.sqlite3"\n[web.site]\nport = 0\n'
    (folder / "config.toml").write_text(config, encoding="utf-8")


def play(folder: Path) -> str:
    """Edit files while the command runs; the answer is what it printed."""
    copy_playground(folder)
    greeter = folder / "plugins/greeter/plugin.py"
    code = greeter.read_text(encoding="utf-8")
    session = Session(folder)
    session.wait_for("Ctrl-C to stop")
    session.wait_for("Hello, world!")
    greeter.write_text(code.replace('"Hello"', '"Ahoy"'), encoding="utf-8")
    session.wait_for("Ahoy, world!")
    greeter.write_text(
        code.replace("def setup(self, ctx: PluginContext) -> None:", "def setup(self")
    )
    session.wait_for("still running")
    session.wait_for("Ahoy, world!")
    greeter.write_text(code.replace('"Hello"', '"Welcome back"'), encoding="utf-8")
    session.wait_for("dependents")
    session.wait_for("Welcome back, world!")
    session.stop()
    return session.seen


def main() -> None:
    """Play, then draw."""
    with tempfile.TemporaryDirectory() as folder:
        printed = play(Path(folder))
    printed = re.sub(r"\^C", "", printed).replace("\r\n", "\n")
    console = Console(record=True, width=COLUMNS, file=StringIO(), color_system="truecolor")
    command = Text.from_markup("[bold green]$[/] dagstack-dev watch plugins --config config.toml")
    console.print(command)
    console.print(Text.from_ansi(printed.strip("\n")))
    target = ROOT / "docs/watch.svg"
    svg = console.export_svg(title="dagstack-dev", theme=MONOKAI, code_format=TEMPLATE)
    target.write_text(svg, encoding="utf-8")
    print(f"wrote {target.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
