"""How a person reads it: paths from the current folder, places, durations, ages."""

from __future__ import annotations

import os
import time
from datetime import datetime
from typing import Final


def _current_folder() -> str:
    """With a separator at its end."""
    try:
        return os.path.join(os.getcwd(), "")  # noqa: PTH109, PTH118 - a string is compared
    except OSError:  # It was deleted under our feet.
        return os.sep * 2


HERE: Final = _current_folder()
"""Where the command was given; a plugin may go elsewhere."""


def short(text: str) -> str:
    """Return `text` with paths below the folder where the command was given relative to it."""
    if len(HERE) <= 1:
        return text
    return text.replace(f"file://{HERE}", "").replace(HERE, "")


def at(path: str | None, line: int | None, before: str = ", at ") -> str:
    """Return where something is, behind `before`; nothing where that is not known."""
    return f"{before}{short(path)}{f':{line}' if line else ''}" if path else ""


def duration(ms: float) -> str:
    """Return milliseconds as a person says them."""
    if ms >= 1000:  # noqa: PLR2004 - a second
        return f"{ms / 1000:.1f} s"
    return f"{ms:.0f} ms" if ms >= 10 else f"{ms:.1f} ms"  # noqa: PLR2004 - of some precision


def age(moment: str) -> float:
    """Return how long ago a moment was, in seconds."""
    return max(0.0, time.time() - datetime.fromisoformat(moment).timestamp())


def ago(moment: str) -> str:
    """Return how long ago a moment was, as a person says it."""
    seconds = age(moment)
    for size, name in ((86_400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.0f} {name}"
    return f"{seconds:.0f} s"


def spaced(state: str) -> str:
    """Return the name of a state as a person reads it: `setting up`."""
    return state.replace("_", " ")
