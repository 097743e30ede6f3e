"""Sockets of these tests lie in a folder of their own; what is left there is a defect."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def own_sockets(sockets: Path) -> None:
    """All of these tests use `sockets`."""
