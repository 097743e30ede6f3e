"""What lets in: a browser the address of the page, for two secrets; coding agents their token."""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

_LEADING: Final = (
    '<!doctype html><meta charset="utf-8"><title>dagstack-dev</title>'
    '<meta name="agents" content="{agents_url} {agents_token}">'
    '<meta http-equiv="refresh" content="0; url={address}">\n'
)

AGENTS_PATH: Final = "/mcp"
"""Where coding agents find their tools."""


@dataclass(frozen=True)
class Access:
    """What lets browsers and agents in; new for every run of a server.

    Attributes:
        port: that the page is served at.
        file: leads a browser to the address. A browser is started with its path: other users see
            the arguments of a process, but not what is in this file. It also holds what lets
            agents in.
        token: in the address of the page.
        session: what a browser gets for the token as a cookie, and sends to all ports of a host.
        origin_secret: what the page gets for the token, and sends as a header. The browser keeps
            it for this origin, so that no other port sees it.
        agents_token: what coding agents send as a header. It opens nothing but their tools, and no
            other secret opens these: an agent that may only read cannot do more with it.
    """

    port: int
    file: Path
    token: str = field(default_factory=lambda: secrets.token_urlsafe(24), repr=False)
    session: str = field(default_factory=lambda: secrets.token_urlsafe(24), repr=False)
    origin_secret: str = field(default_factory=lambda: secrets.token_urlsafe(24), repr=False)
    agents_token: str = field(default_factory=lambda: secrets.token_urlsafe(24), repr=False)

    @property
    def hosts(self) -> tuple[str, ...]:
        """What a request may be addressed to."""
        return f"127.0.0.1:{self.port}", f"localhost:{self.port}"

    @property
    def url(self) -> str:
        """The address without the token."""
        return f"http://{self.hosts[0]}/"

    @property
    def address(self) -> str:
        """The address that lets a browser in."""
        return f"{self.url}?token={self.token}"

    @property
    def agents_url(self) -> str:
        """The address for coding agents."""
        return f"http://{self.hosts[0]}{AGENTS_PATH}"

    @property
    def cookie(self) -> str:
        """The name of the cookie; cookies ignore ports, so that it names its own."""
        return f"dagstack-dev-{self.port}"

    def write_file(self) -> None:
        """Write `file`, for its owner alone."""
        self.file.touch(mode=0o600)
        secret = {each: getattr(self, each) for each in ("address", "agents_url", "agents_token")}
        self.file.write_text(_LEADING.format(**secret))


def address_in(file: Path) -> str:
    """Return the address that a file leads to, as `Access.write_file` has written it.

    Raises:
        OSError: it cannot be read, or leads nowhere.
    """
    (address,) = _found(r'url=([^"]+)"', file)
    return address


def agents_in(file: Path) -> tuple[str, str]:
    """Return the address for coding agents, and their token, that a file holds.

    Raises:
        OSError: as `address_in`.
    """
    url, token = _found(r'name="agents" content="(\S+) ([^"]+)"', file)
    return url, token


def _found(pattern: str, file: Path) -> Sequence[str]:
    found = re.search(pattern, file.read_text())
    if found is None:
        raise OSError(f"{file} leads to no page")
    return found.groups()
