"""The console of every command: what others have written comes out as text and does nothing."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

from dagstack_dev.cli.output import printable
from dagstack_dev.cli.places import knows_links
from dagstack_dev.cli.wording import HERE
from dagstack_dev.core.secrets import without_known

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import IO

    from rich.console import ConsoleOptions, RenderableType
    from rich.segment import Segment

    from dagstack_dev.cli.places import Editor


class Screen(Console):
    """A console without markup, names of emoji and control characters in what it is given.

    Args:
        file: where to; standard output by default.
        width: columns; those of the terminal by default.
        soft_wrap: whether the terminal breaks long lines.
        editor: where links to places lead; there are none where the terminal does not know them.
    """

    def __init__(
        self,
        file: IO[str] | None = None,
        *,
        width: int | None = None,
        soft_wrap: bool = False,
        editor: Editor | None = None,
    ) -> None:
        super().__init__(
            file=file,
            width=width,
            soft_wrap=soft_wrap,
            highlight=False,
            markup=False,
            emoji=False,
        )
        has_links = self.is_terminal and knows_links(os.environ)
        self._editor = editor if has_links else None

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        """Render as ever; text is masked and made printable before it is measured."""
        if isinstance(renderable, str):
            renderable = printable(without_known(renderable))
        elif isinstance(renderable, Text):
            renderable = _safe(renderable)
            if self._editor is not None:
                renderable = self._editor.linked(renderable, HERE)
        return super().render(renderable, options)


def timed(line: Text) -> Text:
    """Return `line` after the time of day."""
    return Text.assemble((f"{clock()} ", "dim"), line)


def clock() -> str:
    """Return the time of day."""
    return time.strftime("%H:%M:%S")


def _safe(text: Text) -> Text:
    """Return `text` without known secrets and made printable; what differs has no styles."""
    safe = printable(without_known(text.plain))
    return text if safe == text.plain else text.blank_copy(safe)
