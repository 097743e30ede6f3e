"""Bytes by key, in memory or in files: the resource `blob_store`, and checkpoints.

Contract, sections 9 and 11; ADR-3. A checkpoint is where a plugin notes how far it is.
"""

from __future__ import annotations

import os
from collections.abc import MutableMapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from dagstack_dev.host.services.keyed import KeyedFiles

if TYPE_CHECKING:
    from dagstack_dev.core.refs import PluginRef


@runtime_checkable
class BlobStore(Protocol):
    """Bytes by key, shared by all plugins that ask for it."""

    def put(self, key: str, blob: bytes) -> None:
        """Keep a blob, in place of what was there.

        Args:
            key: any text; slashes in it make folders, where blobs are files.
            blob: the bytes.
        """

    def get(self, key: str) -> bytes | None:
        """Return the blob, or None."""

    def delete(self, key: str) -> None:
        """Delete the blob; nothing happens when it is not there."""

    def exists(self, key: str) -> bool:
        """Return whether there is a blob."""

    def list(self, prefix: str = "") -> Sequence[str]:
        """Return the keys that begin with `prefix`, sorted."""


@runtime_checkable
class CheckpointStore(Protocol):
    """Bytes by key, to go on from after a crash. What was saved is loaded byte for byte."""

    def save(self, key: str, payload: bytes) -> None:
        """Keep a payload, in place of what was there; from now on `load` returns it.

        Args:
            key: any text; slashes in it make folders, where checkpoints are files.
            payload: the bytes.
        """

    def load(self, key: str) -> bytes | None:
        """Return what was saved last, or None."""

    def clear(self, key: str) -> None:
        """Delete it; nothing happens when it is not there."""


class _Store:
    """What blobs and checkpoints have in common.

    Args:
        values: where they are kept.
    """

    def __init__(self, values: MutableMapping[str, bytes]) -> None:
        self._values = values

    def list(self, prefix: str = "") -> Sequence[str]:
        """Return the keys that begin with `prefix`, sorted."""
        return sorted(key for key in tuple(self._values) if key.startswith(prefix))

    def _keep(self, key: str, value: object, method: str) -> None:
        """Keep `value`, as bytes that cannot be changed.

        Raises:
            TypeError: it is something else. `method` is what was called.
        """
        if not isinstance(value, bytes | bytearray | memoryview):
            raise TypeError(
                f"{method} takes bytes, not {type(value).__name__}; the plugin decides how to "
                f"write its values: {method}(key, json.dumps(value).encode())"
            )
        self._values[key] = bytes(value)

    def _forget(self, key: str) -> None:
        with suppress(KeyError):
            del self._values[key]


class _Blobs(_Store):
    """Every method of `BlobStore`."""

    def put(self, key: str, blob: bytes) -> None:
        """See `BlobStore.put`. Raises `TypeError` for anything but bytes."""
        self._keep(key, blob, "put")

    def get(self, key: str) -> bytes | None:
        """See `BlobStore.get`."""
        return self._values.get(key)

    def delete(self, key: str) -> None:
        """See `BlobStore.delete`."""
        self._forget(key)

    def exists(self, key: str) -> bool:
        """See `BlobStore.exists`."""
        return key in self._values


class InMemoryBlobStore(_Blobs):
    """A blob store that ends with the process, for development and for tests."""

    def __init__(self) -> None:
        super().__init__({})


MemoryBlobStore = InMemoryBlobStore
"""The name that says more plainly that a test means it."""


class FileBlobStore(_Blobs):
    """A blob store in a folder, one file per blob, each written whole or not at all.

    Its methods raise `OSError`.

    Args:
        folder: made when the first blob is put. Keep it out of watched folders.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        super().__init__(KeyedFiles(folder, suffix=".blob"))


class _Checkpoints(_Store):
    """Every method of `CheckpointStore`."""

    def save(self, key: str, payload: bytes) -> None:
        """See `CheckpointStore.save`. Raises `TypeError` for anything but bytes."""
        self._keep(key, payload, "save")

    def load(self, key: str) -> bytes | None:
        """See `CheckpointStore.load`."""
        return self._values.get(key)

    def clear(self, key: str) -> None:
        """See `CheckpointStore.clear`."""
        self._forget(key)


class InMemoryCheckpointStore(_Checkpoints):
    """A checkpoint store that outlives reloads and ends with the process."""

    def __init__(self) -> None:
        super().__init__({})


class FileCheckpointStore(_Checkpoints):
    """A checkpoint store in a folder, which outlives the process.

    One file per key, written whole or not at all and flushed to the disk before `save` returns;
    its methods raise `OSError`.

    Args:
        folder: made when the first checkpoint is saved. Keep it out of watched folders.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        super().__init__(KeyedFiles(folder, suffix=".checkpoint"))


class PluginCheckpoints:
    """The part of a store that is one plugin's: each of its keys gets `kind/name/` before it.

    Args:
        store: the host's, of any class.
        ref: the plugin.
    """

    def __init__(self, store: Any, ref: PluginRef) -> None:
        self._store = store
        self._prefix = f"{ref}/"

    @property
    def store(self) -> Any:
        """The host's store."""
        return self._store

    def save(self, key: str, payload: bytes) -> None:
        """See `CheckpointStore.save`."""
        self._store.save(self._prefix + key, payload)

    def load(self, key: str) -> bytes | None:
        """See `CheckpointStore.load`."""
        payload: bytes | None = self._store.load(self._prefix + key)
        return payload

    def clear(self, key: str) -> None:
        """See `CheckpointStore.clear`."""
        self._store.clear(self._prefix + key)

    def list(self, prefix: str = "") -> Sequence[str]:
        """Return the plugin's keys that begin with `prefix`, sorted.

        Raises:
            AttributeError: the host's store is one of its own that cannot list.
        """
        keys = self._store.list(self._prefix + prefix)
        return sorted(key.removeprefix(self._prefix) for key in keys)
