"""Tools that restart the whole process at each save, and so leave nothing to be reloaded."""

from __future__ import annotations

import os
import sys
import warnings
from typing import TYPE_CHECKING, Any, Final

from dagstack_dev.core.frames import callers
from dagstack_dev.disk.paths import lies_in

if TYPE_CHECKING:
    from collections.abc import Iterable

_MARKS: Final = {
    "WERKZEUG_RUN_MAIN": "the reloader of Flask",
    "RUN_MAIN": "the reloader of Django",
    "WATCHFILES_CHANGES": "watchfiles",
}
"""What such a tool puts into the environment of the process that it restarts."""


def warn_of_reloading_parent(folders: Iterable[str]) -> None:
    """Warn, with a `RuntimeWarning`, where a tool restarts this process when `folders` change."""
    tool = next((name for mark, name in _MARKS.items() if os.environ.get(mark)), None)
    watched = [*folders]
    reloaded = _reloaded_by_uvicorn()
    if reloaded is not None:
        watched = [each for each in watched if lies_in(each, reloaded)]
        tool = "uvicorn" if watched else tool
    if tool is not None and watched:
        warnings.warn(
            f"{tool} restarts this process at each save below {watched[0]}, so no plugin is ever "
            "reloaded in it; start it without reload, or have it watch other folders only",
            RuntimeWarning,
            stacklevel=2,
        )


def _reloaded_by_uvicorn() -> list[str] | None:
    """Return the folders whose changes have uvicorn restart this process; None where it does not.

    Nothing in the process says so but the arguments of the function that it began with.
    """
    for frame in callers(sys._getframe()):  # noqa: SLF001 - the way to look at callers
        if frame.f_globals.get("__name__") == "uvicorn._subprocess":
            config: Any = frame.f_locals.get("config")
            if getattr(config, "should_reload", False):
                return [str(folder) for folder in config.reload_dirs]
    return None
