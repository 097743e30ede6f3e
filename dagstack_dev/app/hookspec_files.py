"""Files of hookspecs: read at the start, and again when they are saved."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from dagstack_dev.app.reload.reports import Reports
from dagstack_dev.core.documents import DocumentInvalid, decoded
from dagstack_dev.core.errors.files import HookspecsInvalid
from dagstack_dev.core.hookspecs.kinds import NO_KINDS, Kinds
from dagstack_dev.core.hookspecs.yaml_text import parse_hookspecs
from dagstack_dev.disk.reading import content_of

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Sequence

    from dagstack_dev.core.hookspecs.kinds import KindSpec
    from dagstack_dev.core.sources import SourceFile
    from dagstack_dev.host.registry.registry import Registry


def read_hookspecs(
    path: str | os.PathLike[str], file: SourceFile | None = None
) -> tuple[KindSpec, ...]:
    """Read the specs of a YAML file.

    Args:
        path: of the file; a leading `~` is expanded.
        file: what it holds; None to read it from disk.

    Raises:
        HookspecsInvalid: it cannot be read, or with every problem in it at once.
    """
    path = str(Path(path).expanduser().absolute())
    try:
        return parse_hookspecs(decoded(content_of(path, file)), path)
    except DocumentInvalid as error:
        raise HookspecsInvalid.of(path, error.reason, error.line) from error


class HookspecFiles:
    """The files of hookspecs of a server, on top of what the app itself has declared.

    Args:
        registry: where the kinds are declared.
        paths: of the files, absolute.
        file: what each of them holds.

    Raises:
        HookspecsInvalid: one of the files cannot be used.
        HookspecMissing, KindVersionIncompatible: a plugin that is loaded does not comply.
    """

    def __init__(
        self,
        registry: Registry,
        paths: Sequence[str],
        file: Callable[[str], SourceFile | None],
    ) -> None:
        self.paths = tuple(paths)
        self._registry = registry
        self._file = file
        self._of_app = registry.kinds
        self._of_files = NO_KINDS
        self._reports = Reports(registry.table)
        if paths:
            specs = self._read()
            registry.declare(self._of_app.with_specs(specs))
            self._of_files = Kinds(specs)

    def declare(self) -> None:
        """Declare what the files say now.

        What runs goes on, whatever is declared: what no longer complies is for the catalog to
        judge. A file that cannot be used is reported, and changes nothing.
        """
        try:
            specs = self._read()
        except HookspecsInvalid as error:
            self._reports.rejected(None, error.path or "", error)
            return
        for path in self.paths:
            self._reports.fixed(path, None, "the file can be used again")
        self._take_in()
        self._of_files = Kinds(specs)
        kinds = self._of_app.with_specs(specs)
        if kinds != self._registry.kinds:
            self._registry.table.kinds = kinds

    def _read(self) -> list[KindSpec]:
        return [spec for path in self.paths for spec in read_hookspecs(path, self._file(path))]

    def _take_in(self) -> None:
        """Note what the app has declared since the files were read."""
        of_files = self._of_files.specs
        now = self._registry.kinds.specs
        later = [spec for kind, spec in now.items() if of_files.get(kind) != spec]
        self._of_app = self._of_app.with_specs(later)

    def end(self) -> None:
        """Declare no more than the app has."""
        if self.paths:
            self._take_in()
            self._registry.table.kinds = self._of_app
