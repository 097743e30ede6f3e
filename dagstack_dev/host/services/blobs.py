"""The standard resource `blob_store` (contract, section 9)."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from dagstack_dev.host.services.keyed_files import KeyedFiles
from dagstack_dev.host.services.payloads import as_bytes


@runtime_checkable
class BlobStore(Protocol):
    """Bytes by key, shared by all plugins that ask for it."""

    def put(self, key: str, blob: bytes) -> None:
        """Keep `blob`, in place of what was there."""
        ...

    def get(self, key: str) -> bytes | None:
        """The blob, or None."""
        ...

    def delete(self, key: str) -> None:
        """Forget the blob; nothing happens when it is not there."""
        ...

    def exists(self, key: str) -> bool:
        """Whether there is a blob."""
        ...

    def list(self, prefix: str = "") -> Sequence[str]:
        """The keys that begin with `prefix`, sorted."""
        ...


class InMemoryBlobStore:
    """A blob store that ends with the process, for development and for tests."""

    def __init__(self) -> None:
        self._blobs: dict[str, bytes] = {}

    def put(self, key: str, blob: bytes) -> None:
        """See `BlobStore.put`. Raises `TypeError` for anything but bytes."""
        self._blobs[key] = as_bytes("put", blob)

    def get(self, key: str) -> bytes | None:
        """See `BlobStore.get`."""
        return self._blobs.get(key)

    def delete(self, key: str) -> None:
        """See `BlobStore.delete`."""
        self._blobs.pop(key, None)

    def exists(self, key: str) -> bool:
        """See `BlobStore.exists`."""
        return key in self._blobs

    def list(self, prefix: str = "") -> Sequence[str]:
        """See `BlobStore.list`."""
        return sorted(key for key in tuple(self._blobs) if key.startswith(prefix))


MemoryBlobStore = InMemoryBlobStore
"""The name that says more plainly that a test means it."""


class FileBlobStore:
    """A blob store in a folder, one file per blob, each written whole or not at all.

    Args:
        folder: made when the first blob is put. Keep it out of watched folders.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self._files = KeyedFiles(folder, suffix=".blob")

    def put(self, key: str, blob: bytes) -> None:
        """See `BlobStore.put`. Raises `TypeError` for anything but bytes, and `OSError`."""
        self._files.write(key, as_bytes("put", blob))

    def get(self, key: str) -> bytes | None:
        """See `BlobStore.get`."""
        return self._files.read(key)

    def delete(self, key: str) -> None:
        """See `BlobStore.delete`."""
        self._files.remove(key)

    def exists(self, key: str) -> bool:
        """See `BlobStore.exists`."""
        return self._files.has(key)

    def list(self, prefix: str = "") -> Sequence[str]:
        """See `BlobStore.list`."""
        return self._files.find(prefix)
