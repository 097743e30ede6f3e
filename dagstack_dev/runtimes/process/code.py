"""Code that is checked here and runs in a process of its own; see `core.ports`."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dagstack_dev.runtimes.leaks.report import is_gone, leaks
from dagstack_dev.runtimes.leaks.retired import RetiredGeneration
from dagstack_dev.runtimes.process.remote import Remote
from dagstack_dev.runtimes.process.remote_proxy import (
    early_methods,
    make_remote_proxy,
    remote_proxy_class,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from contextlib import AbstractContextManager

    from dagstack_dev.core.sources import SourceFile
    from dagstack_dev.runtimes.code import CodeFile
    from dagstack_dev.runtimes.in_process.plugin_code import InProcessCode
    from dagstack_dev.runtimes.shared.imports import Imports


@dataclass(frozen=True, slots=True)
class ProcessCode:
    """Compiled files that are never run in this process.

    Attributes:
        code: the files.
        worker: the module that runs them in the other process.
    """

    code: InProcessCode
    worker: str

    def load(self) -> ProcessGeneration:
        """Return a generation; the process starts when an instance of it is set up."""
        return ProcessGeneration(self.code, self.worker)


class ProcessGeneration:
    """What one state of the code runs in one process after the other; see `core.ports`.

    What it has imported of shared code is noted as that of any plugin is, so that a change there
    reaches it. Those modules need not be loaded in this process.
    """

    is_undone = False

    def __init__(self, code: InProcessCode, worker: str) -> None:
        self._code: InProcessCode | None = code
        self._worker = worker
        self._class = remote_proxy_class(code.manifest, early_methods(code.files.values()))
        self._retired = RetiredGeneration(self._class)
        self._remotes: list[Remote] = []
        self._imports: Mapping[str, Imports] | None = None
        self._graph = code.shared.imports
        self._graph.follow(code.package, code.package)

    def instantiate(self) -> object:
        """Return a remote proxy; its setup starts the process."""
        assert self._code is not None, "a retired generation makes no instances"  # noqa: S101
        instance = make_remote_proxy(self._class, self._make_remote)
        self._retired.add_instance(instance)
        return instance

    def _make_remote(self) -> Remote:
        assert self._code is not None, "a retired generation sets nothing up"  # noqa: S101
        remote = Remote(self._code, self._worker, self._note_imports)
        self._remotes = [*filter(_runs, self._remotes), remote]
        return remote

    def _note_imports(
        self,
        modules: Mapping[str, CodeFile],
        missing: Iterable[str],
        own: Mapping[str, SourceFile | None],
    ) -> None:
        if self._code is not None and self._imports is None:
            self._code.finder.note_found(self._code.folder, own)
            self._code.shared.note_elsewhere(self._code.package, modules)
            self._graph.add(self._code.package, missing)

    def unload(self) -> None:
        """Forget for now what it has imported."""
        if self._code is not None and self._imports is None:
            self._imports = self._graph.unfollow(self._code.package)

    def activate(self) -> None:
        """Take up again what it has imported, after `unload`."""
        if self._code is not None and self._imports is not None:
            self._graph.follow_again(self._code.package, self._imports)
            self._imports = None

    def tearing_down(self) -> AbstractContextManager[None]:
        """Its processes import the code anew, each time."""
        return nullcontext()

    def note_failure(self) -> None:
        """Whatever it has left has ended with its process."""

    def retire(self) -> None:
        """Let go of the code."""
        self.unload()
        self._code = None
        del self._class

    def is_gone(self) -> bool:
        """Return whether its processes have ended, and no remote proxy can be reached any more."""
        return not any(map(_runs, self._remotes)) and is_gone(self._retired)

    def survivors(self) -> tuple[str, ...]:
        """Return what runs or can be reached still."""
        running = [each.child for each in self._remotes if each.child and _runs(each)]
        return (*(f"process {each.pid}" for each in running), *leaks(self._retired))


def _runs(remote: Remote) -> bool:
    return remote.child is not None and remote.child.is_running
