"""The standard resource `blob_store` (contract, section 9)."""

from __future__ import annotations

import os
from collections.abc import MutableMapping, Sequence
from contextlib import suppress
from typing import Protocol, runtime_checkable

from dagstack_dev.host.services.keyed import KeyedFiles, as_bytes, beginning_with


@runtime_checkable
class BlobStore(Protocol):
    """Bytes by key, shared by all plugins that ask for it."""

    def put(self, key: str, blob: bytes) -> None:
        """Keep `blob`, in place of what was there."""

    def get(self, key: str) -> bytes | None:
        """Return the blob, or None."""

    def delete(self, key: str) -> None:
        """Forget the blob; nothing happens when it is not there."""

    def exists(self, key: str) -> bool:
        """Return whether there is a blob."""

    def list(self, prefix: str = "") -> Sequence[str]:
        """Return the keys that begin with `prefix`, sorted."""


class _Blobs:
    """Every method of `BlobStore`."""

    def __init__(self, blobs: MutableMapping[str, bytes]) -> None:
        self._blobs = blobs

    def put(self, key: str, blob: bytes) -> None:
        """See `BlobStore.put`. Raises `TypeError` for anything but bytes."""
        self._blobs[key] = as_bytes("put", blob)

    def get(self, key: str) -> bytes | None:
        """See `BlobStore.get`."""
        return self._blobs.get(key)

    def delete(self, key: str) -> None:
        """See `BlobStore.delete`."""
        with suppress(KeyError):
            del self._blobs[key]

    def exists(self, key: str) -> bool:
        """See `BlobStore.exists`."""
        return key in self._blobs

    def list(self, prefix: str = "") -> Sequence[str]:
        """See `BlobStore.list`."""
        return beginning_with(prefix, self._blobs)


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
