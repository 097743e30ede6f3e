"""What a dev server offers to plugins where no app decides it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from dagstack_dev.host.services.event_bus import InMemoryEventBus
from dagstack_dev.host.services.progress import LogProgressSink
from dagstack_dev.host.services.stores import (
    FileBlobStore,
    FileCheckpointStore,
    InMemoryCheckpointStore,
)

if TYPE_CHECKING:
    from pathlib import Path

    from dagstack_dev.host.services.context import PluginContext


def with_services(context: PluginContext, *, state_folder: Path | None = None) -> PluginContext:
    """Return `context` with a service of every kind, and its registry with the standard resources.

    What is there already stays. Checkpoints and blobs outlive reloads; those in `state_folder`
    outlive the process too.
    """
    resources = context.registry.resources
    if state_folder is not None and "blob_store" not in resources:
        resources.register("blob_store", FileBlobStore(state_folder / "blobs"))
    resources.register_standard()
    services: dict[str, Any] = {}
    if context.event_bus is None:
        services["event_bus"] = InMemoryEventBus(logger=context.logger)
    if context.progress is None:
        services["progress"] = LogProgressSink()
    if context.checkpoint is None:
        services["checkpoint"] = (
            InMemoryCheckpointStore()
            if state_folder is None
            else FileCheckpointStore(state_folder / "checkpoints")
        )
    return replace(context, **services)
