"""New content of shared code, on its way to the plugins that import it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dagstack_dev.core.errors.life import PluginLoadError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dagstack_dev.core.refs import PluginRef
    from dagstack_dev.runtimes.code import CodeFile
    from dagstack_dev.runtimes.shared.modules import Reach, SharedModules, UnloadedModule


class SharedChange:
    """Some changed files, the modules that have to be imported anew for them, and for whom.

    Attributes:
        files: by path what each now holds; None for one that is gone.
        modules: what runs these files, and every shared module that imports one of those.
        plugins: those that import any of `modules`. They commit or roll back together.
    """

    def __init__(
        self, modules: SharedModules, files: Mapping[str, CodeFile | None], reach: Reach
    ) -> None:
        self._shared = modules
        self.files = files
        self.modules = reach.modules
        self.plugins = reach.plugins
        self._before: dict[str, CodeFile | None] = {}
        self._unloaded: Mapping[str, UnloadedModule] = {}

    @property
    def name(self) -> str:
        """Its first path, which no other change of the same reload has."""
        return min(self.files)

    @property
    def reason(self) -> str:
        """Why the plugins are reloaded, in words."""
        more = f" and {len(self.files) - 1} more" if len(self.files) > 1 else ""
        what = "changed" if self.files[self.name] is not None else "is gone"
        return f"it imports {self.name}{more}, which {what}"

    @property
    def is_broken(self) -> bool:
        """Whether some of it does not compile."""
        return any(file is not None and file.error is not None for file in self.files.values())

    def error_for(self, ref: PluginRef) -> PluginLoadError | None:
        """Return why `ref` cannot be loaded with this change, if some of it does not compile."""
        for path, file in sorted(self.files.items()):
            if file is not None and file.error is not None:
                problem, line = file.problem
                reason = f"{problem}, in code that it imports"
                error = PluginLoadError(ref, "compile", reason, path=path, line=line)
                error.__cause__ = file.error
                return error
        return None

    def leave(self) -> None:
        """Let the next import of these files get them as they are: no plugin needs it any more."""
        self._shared.release(self.files, self.modules)

    def activate(self) -> None:
        """Let imports find the new content; the plugins must have been torn down."""
        self._before = self._shared.exchange(self.files)
        self._unloaded = self._shared.unload(self.modules)

    def importers(self) -> frozenset[PluginRef]:
        """Return the plugins that import any of `modules` by now."""
        return self._shared.reach(self.modules).plugins

    def revert(self) -> None:
        """Reverse `activate`: what ran before is what imports find again."""
        tried = self._shared.unload(self._shared.reach(self.modules).modules)
        self._shared.exchange(self._before)
        self._shared.restore(self._unloaded)
        self._shared.forget(each.path for each in tried.values())
        self._unloaded = {}

    def keep(self) -> None:
        """Let the new content stand, and go of the old modules."""
        self._unloaded = {}
        self._shared.accept(self.files)
