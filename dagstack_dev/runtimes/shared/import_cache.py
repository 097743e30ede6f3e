"""What files import, kept beside their bytecode, so that only what has changed is parsed."""

from __future__ import annotations

import sys
from importlib.util import MAGIC_NUMBER, cache_from_source
from typing import TYPE_CHECKING, Any, Final

from dagstack_dev.runtimes.bytecode import keep, kept
from dagstack_dev.runtimes.shared.static_imports import ImportStatement, When, import_statements

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dagstack_dev.core.sources import SourceFile

    Key = tuple[bytes, str, bool]

_HEADER: Final = MAGIC_NUMBER + b"imports 2"
"""To be changed with what is kept."""


class ImportCache:
    """The imports of files, by their content and the module that they are.

    Args:
        folder: in whose `__pycache__` they are kept, in one file; None: they are not.
    """

    def __init__(self, folder: str | None) -> None:
        self._folder = folder or ""
        self._used: dict[Key, Sequence[ImportStatement]] = {}
        self._has_more = False
        try:
            self._path = cache_from_source(f"{folder}/dagstack-imports.py") if folder else ""
        except NotImplementedError:  # This Python keeps no bytecode.
            self._path = ""
        found = kept(self._path, _HEADER)
        self._kept: dict[Key, Sequence[Sequence[Any]]] = found if isinstance(found, dict) else {}

    def statements(
        self, file: SourceFile, module: str, *, is_package: bool
    ) -> Sequence[ImportStatement]:
        """Return what `import_statements` does for a file of these bytes."""
        key = file.fingerprint, module, is_package
        if key not in self._used:
            rows = self._kept.get(key)
            if rows is None:
                self._has_more = True
                found = import_statements(file.content or b"", module, is_package=is_package)
            else:
                found = [ImportStatement._make((*each, When(when))) for *each, when in rows]
            self._used[key] = found
        return self._used[key]

    def save(self) -> None:
        """Keep what has been asked for, and nothing else, if there is anything new."""
        if self._has_more and self._path and not sys.dont_write_bytecode:
            rows = {
                key: [(*each[:-1], each.when.value) for each in found]
                for key, found in self._used.items()
            }
            keep(self._path, self._folder, _HEADER, rows)
