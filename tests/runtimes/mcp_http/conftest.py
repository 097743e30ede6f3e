"""Real servers for plugins that are remote services."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from mcp_service import Service, serving_mcp


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    """The servers are on this machine, whatever lies between it and the world."""
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    """A server that may be killed."""
    with serving_mcp(tmp_path / "service") as service:
        yield service


@pytest.fixture(scope="package")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """One server for all that leave it as it is."""
    with serving_mcp(tmp_path_factory.mktemp("shared") / "service") as service:
        yield service


@pytest.fixture
def steady(shared: Service) -> Service:
    """That server, with nothing noted, demanded or planned."""
    shared.forget()
    return shared
