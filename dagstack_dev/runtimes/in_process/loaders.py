"""How the modules of plugins come into being, from what their finder has found."""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.abc import Loader
from importlib.machinery import ExtensionFileLoader, SourceFileLoader, SourcelessFileLoader
from importlib.util import decode_source
from typing import TYPE_CHECKING, Any, Final

from dagstack_dev.core.recorded import copy_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from importlib.machinery import ModuleSpec
    from types import CodeType, ModuleType

    from dagstack_dev.runtimes.code import CodeFile

_NO_CODE: Final = compile("", "<package>", "exec")


class SpaceLoader(Loader):
    """Makes a package that holds plugins; they are loaded when they are asked of it.

    Args:
        fullname: the package.
        holds: whether a module of that full name may be one of them.
    """

    def __init__(self, fullname: str, holds: Callable[[str], bool]) -> None:
        self._fullname = fullname
        self._holds = holds

    def exec_module(self, module: ModuleType) -> None:
        """There is no code to run."""
        vars(module)["__getattr__"] = self._load

    def _load(self, name: str) -> ModuleType:
        """Return what an attribute of the package stands for."""
        missing = AttributeError(f"module {self._fullname!r} has no attribute {name!r}")
        inner = f"{self._fullname}.{name}"
        if name.startswith("__") or not self._holds(inner):
            raise missing
        try:
            return import_module(inner)
        except ModuleNotFoundError as error:
            raise missing from error


class _NotingLoader:
    """Has `note` called with name and path of the module that is about to run.

    That is done where the module is made, for a frame of ours around its code would be taken for
    its importer.
    """

    def __init__(self, *args: Any, note: Callable[[str, str], None]) -> None:
        super().__init__(*args)
        self._note = note

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """As any loader of its kind does."""
        self._note(spec.name, str(spec.origin))
        made: ModuleType | None = super().create_module(spec)  # type: ignore[misc]
        return made


class CompiledLoader(_NotingLoader, SourcelessFileLoader):
    """Loads a module of which there is only the bytecode."""


class ExtensionLoader(_NotingLoader, ExtensionFileLoader):  # type: ignore[misc] # as in typeshed
    """Loads an extension module: the library itself only once in a process."""


class SnapshotLoader(_NotingLoader, SourceFileLoader):  # type: ignore[misc] # likewise
    """Loads a module from bytes already read; resources and metadata work as for any file.

    Without a file it makes the empty package that a folder without `__init__.py` stands for.
    """

    def __init__(
        self, fullname: str, path: str, file: CodeFile | None, *, note: Callable[[str, str], None]
    ) -> None:
        super().__init__(fullname, path, note=note)
        self.ran = file
        self._is_loaded = False

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """Return a package that was loaded while it was looked for: it does not run again."""
        loaded = sys.modules.get(spec.name)
        self._is_loaded = loaded is not None and loaded.__spec__ is spec
        return loaded if self._is_loaded else super().create_module(spec)

    def get_code(self, fullname: str) -> CodeType:  # noqa: ARG002 - the import protocol
        """Return the code of the snapshot; raises what compiling it raised."""
        is_loaded, self._is_loaded = self._is_loaded, False
        if self.ran is None or is_loaded:
            return _NO_CODE
        if self.ran.code is None:
            raise copy_of(self.ran.error or ImportError(self.path))
        return self.ran.code

    def get_source(self, fullname: str) -> str:  # noqa: ARG002 - the import protocol
        """Return the text of the snapshot."""
        return decode_source(self.ran.source.content or b"") if self.ran else ""
