"""Where plugins note how far they are (contract, section 11; ADR-3)."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from dagstack_dev.host.services.keyed_files import KeyedFiles
from dagstack_dev.host.services.payloads import as_bytes

if TYPE_CHECKING:
    from dagstack_dev.core.refs import PluginRef


@runtime_checkable
class CheckpointStore(Protocol):
    """Bytes by key, to go on from after a crash. What was saved is loaded byte for byte."""

    def save(self, key: str, payload: bytes) -> None:
        """Keep `payload`, in place of what was there; from now on `load` answers it."""
        ...

    def load(self, key: str) -> bytes | None:
        """What was saved last, or None."""
        ...

    def clear(self, key: str) -> None:
        """Forget it; nothing happens when it is not there."""
        ...


class InMemoryCheckpointStore:
    """A checkpoint store that outlives reloads and ends with the process."""

    def __init__(self) -> None:
        self._payloads: dict[str, bytes] = {}

    def save(self, key: str, payload: bytes) -> None:
        """See `CheckpointStore.save`. Raises `TypeError` for anything but bytes."""
        self._payloads[key] = as_bytes("save", payload)

    def load(self, key: str) -> bytes | None:
        """See `CheckpointStore.load`."""
        return self._payloads.get(key)

    def clear(self, key: str) -> None:
        """See `CheckpointStore.clear`."""
        self._payloads.pop(key, None)

    def list(self, prefix: str = "") -> Sequence[str]:
        """The keys that begin with `prefix`, sorted."""
        return sorted(key for key in tuple(self._payloads) if key.startswith(prefix))


class FileCheckpointStore:
    """A checkpoint store in a folder, which outlives the process.

    One file per key, written whole or not at all and flushed to the disk before `save` returns.

    Args:
        folder: made when the first checkpoint is saved. Keep it out of watched folders.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self._files = KeyedFiles(folder, suffix=".checkpoint")

    def save(self, key: str, payload: bytes) -> None:
        """See `CheckpointStore.save`. Raises `TypeError` for anything but bytes, and `OSError`."""
        self._files.write(key, as_bytes("save", payload))

    def load(self, key: str) -> bytes | None:
        """See `CheckpointStore.load`."""
        return self._files.read(key)

    def clear(self, key: str) -> None:
        """See `CheckpointStore.clear`."""
        self._files.remove(key)

    def list(self, prefix: str = "") -> Sequence[str]:
        """The keys that begin with `prefix`, sorted."""
        return self._files.find(prefix)


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
        """The plugin's keys that begin with `prefix`, sorted.

        Raises:
            AttributeError: the host's store is one of its own that cannot list.
        """
        keys = self._store.list(self._prefix + prefix)
        return sorted(key.removeprefix(self._prefix) for key in keys)
