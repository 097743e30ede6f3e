"""Real plugin trees on a real disk, for tests."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from textwrap import dedent

CODE = """
class Plugin:
    VALUE = {value!r}

    def setup(self, ctx):
        self.ctx = ctx
        journal = ctx.extras.get("journal")
        if journal is not None:
            journal.append("setup {name} {value}")

    def teardown(self):
        journal = self.ctx.extras.get("journal")
        if journal is not None:
            journal.append("teardown {name} {value}")

    def value(self):
        return self.VALUE

    async def async_value(self):
        return self.VALUE
"""
"""A plugin that answers `value` and writes its life into `ctx.extras["journal"]`, if given."""


class PluginTree:
    """Writes plugin folders below `root`.

    Args:
        root: the folder that is discovered or watched; made if it does not exist.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        root.mkdir(parents=True, exist_ok=True)

    def plugin(
        self,
        name: str,
        *,
        kind: str = "demo",
        depends_on: Iterable[str] = (),
        value: object = 1,
        code: str | None = None,
        folder: str | None = None,
        manifest: str = "",
    ) -> Path:
        """Write a plugin folder, or save its `plugin.py`, and its manifest if that differs.

        What runs in another process may look between any two saves: an edit of the code is one,
        and a new plugin is none until it is whole.

        Args:
            name: its name, and its folder's unless `folder` is given.
            kind: its kind.
            depends_on: entries of `depends_on` as TOML: bare names are quoted for you, anything
                that starts with `{` is taken as it is.
            value: what the default code answers.
            code: the text of `plugin.py`, dedented, with a class `Plugin`; default `CODE`.
            folder: path relative to the root.
            manifest: further lines of the `[plugin]` table.
        """
        path = self.root / (folder or name)
        entries = ", ".join(e if e.startswith("{") else f'"{e}"' for e in depends_on)
        text = CODE.format(name=name, value=value) if code is None else code
        self.write(path / "plugin.py", text)
        fields = f"""\
            [plugin]
            name = "{name}"
            kind = "{kind}"
            core_version = ">=0.1.0,<1.0.0"
            runtime = "in_process"
            entry_point = "plugin:Plugin"
            depends_on = [{entries}]
            """
        if not self._holds(path / "dagstack.toml", fields + manifest):
            self.write(path / "dagstack.toml", fields + manifest)
        return path

    def _holds(self, path: Path, text: str) -> bool:
        return path.is_file() and path.read_bytes() == dedent(text).encode()

    def write(self, path: str | Path, text: str) -> Path:
        """Write a file, relative to the root unless absolute, dedented; make its folders."""
        full = self.root / path
        full.parent.mkdir(parents=True, exist_ok=True)
        full.write_text(dedent(text), encoding="utf-8")
        return full
