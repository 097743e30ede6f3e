"""A plugin's folder as it was read from disk: bytes, not promises."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING, Self

from dagstack_dev.core.manifest_forms import MANIFEST_NAME, manifest_among

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One file of a plugin.

    Attributes:
        fingerprint: equal for equal content. Never a modification time.
        content: the bytes of Python files, of the manifest and of small JSON files, which it may
            name; None for anything else.
        error: why the file could not be read, or None.
        is_empty: whether there is nothing but white space in it.
    """

    fingerprint: bytes
    content: bytes | None = None
    error: str | None = None
    is_empty: bool = False

    @classmethod
    def of(cls, content: bytes, *, keep: bool = True) -> Self:
        """Return a file that holds `content`, which is kept only where `keep` says so."""
        digest = blake2b(content, digest_size=16).digest()
        return cls(digest, content if keep else None, is_empty=not content.strip())


@dataclass(frozen=True, slots=True)
class ModulePlugin:
    """A plugin that is imported by name, with its manifest in a module.

    Attributes:
        module: the name of the module that holds the manifest.
        attribute: what the manifest is called there; None for the names of the contract. They
            count too where this is no manifest but the plugin's class.
        computed: the manifest as the module had it when it was imported, for one that its text
            does not spell out.
    """

    module: str
    attribute: str | None = None
    computed: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class PluginSource:
    """One plugin folder at one moment, or the module that a plugin is imported from.

    Attributes:
        folder: its path as found below a root; that of a module's file, with `:` and what the
            manifest is called there if need be.
        files: by path relative to the folder, with `/` between the parts. Of a module nothing
            but itself.
        module: how to import it, None for a folder.
    """

    folder: str
    files: Mapping[str, SourceFile]
    module: ModulePlugin | None = None

    @property
    def home(self) -> str:
        """The folder, or the one that the module lies in."""
        return self.folder if self.module is None else self.folder.rpartition("/")[0]

    def holds(self, path: str) -> bool:
        """Return whether the absolute `path` is the folder or in it."""
        return self.module is None and f"{path}/".startswith(f"{self.folder}/")

    @property
    def manifest_name(self) -> str:
        """The file that holds the manifest in force: `dagstack.toml`, or another form of it."""
        if self.module is not None:
            return next(iter(self.files), "")
        if MANIFEST_NAME in self.files:
            return MANIFEST_NAME
        return manifest_among(self.manifest_text) or MANIFEST_NAME

    @property
    def manifest_path(self) -> str:
        """Where the manifest stands."""
        if self.module is not None and not self.files:
            return self.folder
        return f"{self.home}/{self.manifest_name}"

    @property
    def manifest(self) -> SourceFile | None:
        """The manifest's file, or None when the folder has lost it."""
        return self.files.get(self.manifest_name)

    def manifest_text(self, name: str) -> bytes | None:
        """Return what the file `name` holds, empty if it cannot be read; None if there is none."""
        file = self.files.get(name)
        return None if file is None else file.content or b""

    @property
    def digest(self) -> bytes:
        """Equal for equal files, computed each time."""
        digest = blake2b(digest_size=16)
        for path, file in sorted(self.files.items()):
            digest.update(path.encode() + b"\0" + file.fingerprint)
        return digest.digest()

    def changed_files(self, newer: PluginSource) -> tuple[str, ...]:
        """Relative paths that were added, removed or altered from this source to `newer`."""
        return tuple(
            sorted(
                path
                for path in self.files.keys() | newer.files.keys()
                if self.files.get(path) != newer.files.get(path)
            )
        )
