"""Which files a server may be asked to open: those of plugins, and of code that they share."""

from __future__ import annotations

import os
from contextlib import suppress
from itertools import chain
from typing import TYPE_CHECKING

from dagstack_dev.api.problems import NO_SUCH_FILE, ProblemFound
from dagstack_dev.disk.paths import lies_in

if TYPE_CHECKING:
    from collections.abc import Iterable

    from dagstack_dev.core.snapshot import ServerSnapshot


def own_file(path: str, roots: Iterable[str], snapshot: ServerSnapshot) -> str:
    """Return the real path of a file that lies where a server watches, or that it has refused.

    Args:
        path: absolute.
        roots: the folders that the server watches.
        snapshot: what else it knows.

    Raises:
        ProblemFound: it is none, or there is no such file.
    """
    plugins = (each.status.path for each in snapshot.plugins.values())
    known = chain(roots, snapshot.refused, filter(None, plugins))
    real = ""
    with suppress(ValueError):  # It holds what no path does.
        real = os.path.realpath(path)
    if not (
        os.path.isabs(path)  # noqa: PTH117 - text, as it was asked for
        and os.path.isfile(real)  # noqa: PTH113 - likewise
        and any(lies_in(real, [os.path.realpath(each)]) for each in known)
    ):
        raise ProblemFound(
            NO_SUCH_FILE, f"{path} is no file of a plugin or of code that they share"
        )
    return real
