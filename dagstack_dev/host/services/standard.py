"""The resources that every host can offer (contract, section 9; ADR-3)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from dagstack_dev.host.services.blobs import InMemoryBlobStore
from dagstack_dev.host.services.clock import SystemClock
from dagstack_dev.host.services.http import INSTALL_HTTP, HttpxClient, has_httpx
from dagstack_dev.host.services.rng import RandomRng
from dagstack_dev.host.services.tmpdir import SystemTmpDir

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from dagstack_dev.host.services.ownership import ResourceFactory, ResourceRequest

STANDARD_RESOURCES: Final = ("clock", "rng", "blob_store", "http_client", "tmpdir")
"""Their names."""

SHARED: Final[Mapping[str, Callable[[], object]]] = {
    "clock": SystemClock,
    "rng": RandomRng,
    "blob_store": InMemoryBlobStore,
}
"""What makes those of which all plugins get the same."""


def factories() -> dict[str, ResourceFactory]:
    """Return what makes those of which each plugin gets its own, as far as they are installed."""
    made: dict[str, ResourceFactory] = {"tmpdir": _tmpdir}
    return made | {"http_client": _http_client} if has_httpx() else made


def how_to_offer(name: str) -> str:
    """Return what a host has to do that lacks the resource `name`."""
    if name == "http_client" and not has_httpx():
        return f"it needs httpx: {INSTALL_HTTP}"
    if name in STANDARD_RESOURCES:
        return "call registry.resources.register_standard() before the plugins are set up"
    return f"call registry.resources.register({name!r}, ...) before the plugins are set up"


def _tmpdir(request: ResourceRequest) -> SystemTmpDir:
    folder = SystemTmpDir(request.ref)
    request.callback(folder.aclose)
    return folder


def _http_client(request: ResourceRequest) -> HttpxClient:
    client = HttpxClient()
    request.callback(client.aclose)
    return client
