"""Files of hookspecs: read at the start, and again when they are saved."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import anyio

from dagstack_dev.app.config import has_content
from dagstack_dev.core.dispatch_errors import HookspecsInvalid
from dagstack_dev.core.documents import DocumentInvalid, decoded
from dagstack_dev.core.errors import ManifestProblem
from dagstack_dev.core.events import PluginFixed, PluginRejected
from dagstack_dev.core.hookspec_yaml import parse_hookspecs
from dagstack_dev.core.hookspecs import NO_KINDS, Kinds
from dagstack_dev.disk.paths import read_regular, reason_of

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable

    from dagstack_dev.app.inbox import Batch
    from dagstack_dev.core.hookspecs import KindSpec
    from dagstack_dev.host.registry import Registry


def read_hookspecs(path: str | os.PathLike[str]) -> tuple[KindSpec, ...]:
    """The specs of a YAML file; a leading `~` is expanded.

    Raises:
        HookspecsInvalid: it cannot be read, or with every problem in it at once.
    """
    file = Path(path).expanduser().absolute()
    try:
        return parse_hookspecs(decoded(read_regular(file)), str(file))
    except OSError as error:
        problem = ManifestProblem("", f"cannot be read: {reason_of(error)}")
        raise HookspecsInvalid(str(file), [problem]) from error
    except DocumentInvalid as error:
        problem = ManifestProblem("", error.reason, error.line)
        raise HookspecsInvalid(str(file), [problem]) from error


class HookspecFiles:
    """The files of hookspecs of a server, on top of what the app itself has declared.

    Args:
        registry: where the kinds are declared.
        files: the files.
        doubt_seconds: how long one that was emptied is given to go on.

    Attributes:
        paths: where events tell of them.

    Raises:
        HookspecsInvalid: one of the files cannot be used.
        HookspecMissing, KindVersionIncompatible: a plugin that is loaded does not comply.
    """

    def __init__(
        self,
        registry: Registry,
        files: Iterable[str | os.PathLike[str]],
        *,
        doubt_seconds: float,
    ) -> None:
        self._registry = registry
        self._files = [Path(file).expanduser().absolute() for file in files]
        self._doubt_seconds = doubt_seconds
        self.paths = frozenset(map(str, self._files))
        self._of_app = registry.kinds
        self._of_files = NO_KINDS
        self._told: str | None = None
        if self._files:
            specs = self._read()
            registry.declare(self._of_app.with_specs(specs))
            self._of_files = Kinds(specs)

    async def look(self, batch: Batch) -> None:
        """Declare what the files say now, if `batch` may have changed it.

        What runs goes on, whatever is declared: what no longer complies is for the catalog to
        judge. A file that cannot be used is told, and changes nothing.
        """
        if not self._files or not (batch.everywhere or not self.paths.isdisjoint(batch.paths)):
            return
        if not all(map(has_content, self._files)):
            await anyio.sleep(self._doubt_seconds)  # It is half-way through a save.
        try:
            specs = self._read()
        except HookspecsInvalid as error:
            if self._told != str(error):
                self._told = str(error)
                fact = PluginRejected(
                    ref=None, path=error.path or "", error=error, keeps_generation=None
                )
                self._registry.table.publish(fact)
            return
        if self._told is not None:
            self._told = None
            path = str(self._files[0])
            fixed = PluginFixed(ref=None, path=path, message="the files can be used again")
            self._registry.table.publish(fixed)
        self._take_in()
        self._of_files = Kinds(specs)
        kinds = self._of_app.with_specs(specs)
        if kinds != self._registry.kinds:
            self._registry.table.kinds = kinds

    def _read(self) -> list[KindSpec]:
        return [spec for file in self._files for spec in read_hookspecs(file)]

    def _take_in(self) -> None:
        """Note what the app has declared since the files were read."""
        of_files = self._of_files.specs
        now = self._registry.kinds.specs
        later = [spec for kind, spec in now.items() if of_files.get(kind) != spec]
        self._of_app = self._of_app.with_specs(later)

    def end(self) -> None:
        """Declare no more than the app has."""
        if self._files:
            self._take_in()
            self._registry.table.kinds = self._of_app
