"""Where plugins note how far they are (contract, section 11; ADR-3)."""

from __future__ import annotations

import os
from collections.abc import MutableMapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from dagstack_dev.host.services.keyed import KeyedFiles, as_bytes, beginning_with

if TYPE_CHECKING:
    from dagstack_dev.core.refs import PluginRef


@runtime_checkable
class CheckpointStore(Protocol):
    """Bytes by key, to go on from after a crash. What was saved is loaded byte for byte."""

    def save(self, key: str, payload: bytes) -> None:
        """Keep `payload`, in place of what was there; from now on `load` answers it."""

    def load(self, key: str) -> bytes | None:
        """Return what was saved last, or None."""

    def clear(self, key: str) -> None:
        """Forget it; nothing happens when it is not there."""


class _Checkpoints:
    """Every method of `CheckpointStore`."""

    def __init__(self, payloads: MutableMapping[str, bytes]) -> None:
        self._payloads = payloads

    def save(self, key: str, payload: bytes) -> None:
        """See `CheckpointStore.save`. Raises `TypeError` for anything but bytes."""
        self._payloads[key] = as_bytes("save", payload)

    def load(self, key: str) -> bytes | None:
        """See `CheckpointStore.load`."""
        return self._payloads.get(key)

    def clear(self, key: str) -> None:
        """See `CheckpointStore.clear`."""
        with suppress(KeyError):
            del self._payloads[key]

    def list(self, prefix: str = "") -> Sequence[str]:
        """Return the keys that begin with `prefix`, sorted."""
        return beginning_with(prefix, self._payloads)


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
