"""The standard resource `tmpdir` (contract, section 9)."""

from __future__ import annotations

import os
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import anyio
import anyio.to_thread

if TYPE_CHECKING:
    from dagstack_dev.core.refs import PluginRef


@runtime_checkable
class TmpDir(Protocol):
    """A folder of the plugin's own, which goes away with it."""

    @property
    def path(self) -> Path:
        """The folder, which is there."""

    def create_file(self, name: str | None = None, content: bytes | str = b"") -> Path:
        """Make a new file in it, and return its path.

        Args:
            name: relative to the folder; one that is free, where there is none.
            content: of the file; text is written as UTF-8.
        """

    def create_subdir(self, name: str | None = None) -> Path:
        """Make a new folder in it, and return its path.

        Args:
            name: relative to the folder; one that is free, where there is none.
        """


class FolderTmpDir:
    """A `TmpDir` in a folder that something else removes, as pytest does `tmp_path`.

    Args:
        folder: made if it is not there.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self._folder = Path(folder).absolute()

    @property
    def path(self) -> Path:
        """The folder, which is there."""
        self._folder.mkdir(parents=True, exist_ok=True)
        return self._folder

    def create_file(self, name: str | None = None, content: bytes | str = b"") -> Path:
        """See `TmpDir.create_file`.

        Raises:
            ValueError: `name` leads out of the folder.
            FileExistsError: the name is taken.
        """
        data = content.encode() if isinstance(content, str) else content
        if name is None:
            handle, created = tempfile.mkstemp(dir=self.path)
            path = Path(created)
        else:
            path = self._inside(name)
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with open(handle, "wb") as file:  # noqa: PTH123 - a descriptor has no path
            file.write(data)
        return path

    def create_subdir(self, name: str | None = None) -> Path:
        """See `TmpDir.create_subdir`.

        Raises:
            ValueError: `name` leads out of the folder.
            FileExistsError: the name is taken.
        """
        if name is None:
            return Path(tempfile.mkdtemp(dir=self.path))
        path = self._inside(name)
        path.mkdir()
        return path

    def _inside(self, name: str) -> Path:
        """Return the path of `name`, whose parents are made."""
        folder = self.path
        path = Path(os.path.normpath(folder / name))
        if path == folder or not path.is_relative_to(folder):
            raise ValueError(f"{name!r} is not a name inside the plugin's temporary folder")
        path.parent.mkdir(parents=True, exist_ok=True)
        return path


class SystemTmpDir(FolderTmpDir):
    """A `TmpDir` below the system's folder for such things, made when it is first used.

    A pickled one comes back as a `FolderTmpDir` at the same path: who made it removes it.

    Args:
        ref: the plugin, for the folder's name.
    """

    def __init__(self, ref: PluginRef) -> None:
        self._ref = ref
        self._made: tempfile.TemporaryDirectory[str] | None = None
        self._is_closed = False
        self._lock = threading.Lock()

    @property
    def path(self) -> Path:
        """The folder, which is there.

        Raises:
            RuntimeError: the plugin has been torn down.
        """
        with self._lock:
            if self._is_closed:
                raise RuntimeError(f"{self._ref} has been torn down, and its tmpdir with it")
            if self._made is None:
                prefix = f"dagstack-{self._ref.kind}-{self._ref.name}-"
                self._made = tempfile.TemporaryDirectory(prefix=prefix)
            return Path(self._made.name)

    async def aclose(self) -> None:
        """Remove the folder with all that is in it, off the event loop. Raises `OSError`.

        Also where the time of the plugin's teardown is up, and all that is left is cancelled.
        """
        with self._lock:
            self._is_closed = True
        if self._made is not None:
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(self._made.cleanup)

    def __reduce__(self) -> tuple[type[FolderTmpDir], tuple[Path]]:
        return FolderTmpDir, (self.path,)
