"""The code of one plugin that runs in this process, and what one import of it has made."""

from __future__ import annotations

import inspect
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from importlib import import_module
from traceback import extract_tb
from typing import TYPE_CHECKING, Any

from dagstack_dev.core.errors.base import in_words
from dagstack_dev.core.errors.life import PluginLoadError, SignatureMismatch
from dagstack_dev.runtimes.leaks.report import is_gone, leaks
from dagstack_dev.runtimes.leaks.retired import RetiredGeneration
from dagstack_dev.runtimes.shared.registrations import held_by
from dagstack_dev.runtimes.shared.static_imports import static_imports

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping
    from contextlib import AbstractContextManager
    from types import ModuleType

    from dagstack_dev.core.manifest.fields import PluginManifest
    from dagstack_dev.runtimes.code import CodeFile
    from dagstack_dev.runtimes.in_process.plugin_finder import PluginFinder
    from dagstack_dev.runtimes.shared.modules import UnloadedModule
    from dagstack_dev.runtimes.shared.shared_code import SharedCode
    from dagstack_dev.runtimes.shared.unloading import Unloaded


@dataclass(frozen=True, slots=True)
class InProcessCode:
    """The compiled files of one plugin at one moment; see `core.ports.Prepared`.

    `entry` is the entry module's name below `package`. A pickle of it lacks what is of this process
    alone, `finder`.
    """

    manifest: PluginManifest
    folder: str
    package: str
    entry: str
    files: Mapping[str, CodeFile]
    finder: PluginFinder = field(repr=False, compare=False)

    @property
    def shared(self) -> SharedCode:
        """The code that it shares with other plugins."""
        return self.finder.shared

    def __reduce__(self) -> tuple[Any, ...]:
        """See the class."""
        values = (self.manifest, self.folder, self.package, self.entry, self.files)
        return InProcessCode, (*values, None)

    def names_any_of(self, modules: Collection[str]) -> bool:
        """Return whether some file's text imports one of `modules`, none of them the plugin's own.

        Imports by a name that is made up while it runs are not in the text.
        """
        words = {module.rpartition(".")[2].encode() for module in modules}
        texts = (file.source.content or b"" for file in self.files.values())
        return any(
            each.module in modules
            for text in texts
            if any(word in text for word in words)  # Else there is no need to parse it.
            for each in static_imports(text, self.package, is_package=True)
        )

    def load(self) -> InProcessGeneration:
        """Execute the code: import the entry module and whatever that imports.

        Another generation of the same plugin must have been unloaded before.

        Raises:
            PluginLoadError: the import raised, or the module binds no such class after all. No
                module of it is left behind.
        """
        self.finder.failed.collect()
        self.activate()
        try:
            with self.finder.registrations.importing(self.package):
                module = import_module(f"{self.package}.{self.entry}")
            return InProcessGeneration(self, self._class_in(module))
        except PluginLoadError:
            self._load_failed()
            raise
        except BaseException as error:
            self._load_failed()
            raise load_error(self, "import", error) from error

    def _load_failed(self) -> None:
        self.finder.load_failed(self.package)

    def activate(self) -> None:
        """Let imports below the package resolve to these files."""
        self.shared.take_part()
        self.finder.activate(self.package, self.folder, self.files)
        for file in self.files.values():
            file.pin_lines_again()

    def _class_in(self, module: ModuleType) -> type:
        name = self.manifest.entry_class
        cls = getattr(module, name, None)
        if isinstance(cls, type):
            return cls
        found = "binds no" if cls is None else f"binds {type(cls).__name__} {name!r}, not a"
        reason = f"{module.__file__} {found} class {name!r}"
        raise PluginLoadError(self.manifest.ref, "import", reason, path=module.__file__)


class InProcessGeneration:
    """The modules and the class of one import; see `core.ports.Generation`.

    Args:
        code: what was imported.
        cls: the plugin's class.
    """

    def __init__(self, code: InProcessCode, cls: type) -> None:
        self.is_undone = False
        self._registered_in = code.finder.registrations.of(code.package)
        self._code: InProcessCode | None = code
        self._class: type | None = cls
        self._unloaded: Unloaded | None = None
        self._borrowers: Mapping[
            str, UnloadedModule
        ] = {}  # Shared modules that import this plugin.
        # A class of shared code may live on.
        is_own = f"{cls.__module__}.".startswith(f"{code.package}.")
        self._retired = RetiredGeneration(cls if is_own else None)

    def instantiate(self) -> object:
        """Return a new instance; the constructor takes no arguments.

        Raises:
            SignatureMismatch: it takes some.
            PluginLoadError: the constructor raised; its exception is the cause.
        """
        assert self._class is not None, "a retired generation makes no instances"  # noqa: S101
        assert self._code is not None  # noqa: S101 - it goes with the class
        self._code.finder.failed.collect()
        try:
            instance: object = self._class()
        except BaseException as error:
            self._note_unfinished(error)
            if isinstance(error, TypeError) and not _came_to_run(error):
                _check_constructor(self._code, self._class)
            raise load_error(self._code, "construct", error) from error
        self._retired.add_instance(instance)
        return instance

    def _note_unfinished(self, error: BaseException) -> None:
        """The instance whose constructor has raised `error` is the first variable of that."""
        step = error.__traceback__ and error.__traceback__.tb_next
        values = list(step.tb_frame.f_locals.values())[:1] if step is not None else []
        if values and type(values[0]) is self._class:
            self._retired.add_instance(values[0])
        self.note_failure()

    def tearing_down(self) -> AbstractContextManager[None]:
        """See `core.ports`; a teardown after which these modules hold less has undone it."""
        return self._counting() if self._registered_in else nullcontext()

    @contextmanager
    def _counting(self) -> Iterator[None]:
        held = sum(map(held_by, self._registered_in))
        yield
        self.is_undone = sum(map(held_by, self._registered_in)) < held

    def note_failure(self) -> None:
        """Have its newest instance freed before more code of plugins runs."""
        if self._code is not None:
            self._code.finder.failed.add(self._retired)

    def unload(self) -> None:
        """Take the modules out of `sys.modules`, so that the next generation gets fresh ones."""
        if self._code is not None and self._unloaded is None:
            self._borrowers = self._code.shared.modules.unload_importers(self._code.package)
            self._unloaded = self._code.finder.unload(self._code.package)
            self._retired.note_handlers(self._unloaded.modules)

    def activate(self) -> None:
        """Put unloaded modules back in force."""
        if self._code is not None and self._unloaded is not None:
            self._code.activate()
            self._code.finder.restore(self._code.package, self._unloaded)
            self._code.shared.modules.restore(self._borrowers)
            self._unloaded = None
            self._borrowers = {}

    def retire(self) -> None:
        """Forget code, modules and class; afterwards `survivors` returns what that did not free."""
        self.unload()
        if self._unloaded is not None:
            self._retired.add_modules(self._unloaded.modules)
        if self._code is not None:
            self._code.finder.drop_if_empty(self._code.package)
        self._unloaded = None
        self._borrowers = {}
        self._code = self._class = None

    def is_gone(self) -> bool:
        """Return whether nothing of it can be reached any more."""
        return is_gone(self._retired)

    def survivors(self) -> tuple[str, ...]:
        """Return what is still reachable and what holds it; empty when everything is gone."""
        return leaks(self._retired)


def _check_constructor(code: InProcessCode, cls: type) -> None:
    """Raise `SignatureMismatch` when `cls` cannot be made without arguments."""
    init: Any = cls.__init__  # type: ignore[misc]
    called = getattr(init, "__qualname__", "__init__")
    try:
        signature = inspect.signature(cls)
    except ValueError:  # One in C may have none.
        return
    reason = SignatureMismatch.reason_of(
        "__init__", called, signature, is_async=False, has_self=True
    )
    if reason is not None:
        text = getattr(init, "__code__", None)
        path, line = code.folder, None
        if text is not None and text.co_filename.startswith(f"{path}/"):
            path, line = text.co_filename, text.co_firstlineno
        raise SignatureMismatch(code.manifest.ref, reason, path, line) from None


def _came_to_run(error: BaseException) -> bool:
    """Return whether `error` was raised in what its catcher has called, not by the call."""
    return error.__traceback__ is not None and error.__traceback__.tb_next is not None


def load_error(code: InProcessCode, stage: str, error: BaseException) -> PluginLoadError:
    """Return an exception in plugin code with the line of the plugin that it came from."""
    ref = code.manifest.ref
    described = in_words(error)
    if isinstance(error, SyntaxError) and error.filename:
        return PluginLoadError(ref, stage, described, path=error.filename, line=error.lineno)
    own = [
        frame
        for frame in extract_tb(error.__traceback__)
        if frame.filename.startswith(code.folder + "/")
    ]
    path, line = (own[-1].filename, own[-1].lineno) if own else (code.folder, None)
    return PluginLoadError(ref, stage, described, path=path, line=line)
