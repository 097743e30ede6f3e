"""Sockets of these tests lie in a folder of their own; what is left there is a defect.

A browser is started once for each module of tests, and so is the event loop that drives it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

if TYPE_CHECKING:
    from playwright.async_api import Browser


@pytest.fixture(autouse=True)
def own_sockets(sockets: Path) -> None:
    """All of these tests use `sockets`."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    """A real browser; the modules that use it run in one event loop (`loop_scope`)."""
    from browsing import launched  # Skips where playwright is not installed.

    async with launched() as found:
        yield found
