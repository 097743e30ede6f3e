"""A plugin's folder as it was read from disk: bytes, not promises."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING, Self

from dagstack_dev.core.manifest import MANIFEST_NAME

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One file of a plugin.

    Attributes:
        fingerprint: equal for equal content. Never a modification time.
        content: the bytes of Python files and of the manifest; None for anything else.
        error: why the file could not be read, or None.
        is_empty: whether there is nothing but white space in it.
    """

    fingerprint: bytes
    content: bytes | None = None
    error: str | None = None
    is_empty: bool = False

    @classmethod
    def of(cls, content: bytes, *, keep: bool = True) -> Self:
        """A file that holds `content`, which is kept only where `keep` says so."""
        digest = blake2b(content, digest_size=16).digest()
        return cls(digest, content if keep else None, is_empty=not content.strip())


@dataclass(frozen=True, slots=True)
class PluginSource:
    """One plugin folder at one moment.

    Attributes:
        folder: its path as found below a root.
        files: by path relative to the folder, with `/` between the parts.
    """

    folder: str
    files: Mapping[str, SourceFile]

    @property
    def manifest_path(self) -> str:
        """Where the manifest stands."""
        return f"{self.folder}/{MANIFEST_NAME}"

    @property
    def manifest(self) -> SourceFile | None:
        """The manifest's file, or None when the folder has lost it."""
        return self.files.get(MANIFEST_NAME)

    def changed_files(self, newer: PluginSource) -> tuple[str, ...]:
        """Relative paths that were added, removed or altered from this source to `newer`."""
        return tuple(
            sorted(
                path
                for path in self.files.keys() | newer.files.keys()
                if self.files.get(path) != newer.files.get(path)
            )
        )
