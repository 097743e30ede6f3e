"""The configuration file of the command line."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio

from dagstack_dev.core.config_document import ConfigDocument
from dagstack_dev.core.documents import DocumentInvalid, decoded, parse_toml
from dagstack_dev.core.secrets import remember, secrets_in
from dagstack_dev.disk.paths import read_regular, reason_of

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping

    from dagstack_dev.app.inbox import Batch


class ConfigInvalid(ValueError):
    """A configuration file that cannot be used; `path` and `line` say where."""

    def __init__(self, path: Path, reason: str, line: int | None = None) -> None:
        super().__init__(path, reason, line)
        self.path = str(path)
        self.reason = reason
        self.line = line

    def __str__(self) -> str:
        place = f"{self.path}:{self.line}" if self.line else self.path
        return f"{place}: {self.reason}"


class ConfigFile:
    """The configuration file of a server, if it has any.

    Args:
        path: the file, None for none.
        doubt_seconds: how long one that was emptied is given to go on.

    Attributes:
        path: the file, absolute.
        paths: where events tell of it.
    """

    def __init__(self, path: str | os.PathLike[str] | None, *, doubt_seconds: float) -> None:
        self.path = Path(path).expanduser().absolute() if path else None
        self.paths = frozenset({str(self.path)} if self.path else ())
        self._doubt_seconds = doubt_seconds

    def concerns(self, batch: Batch) -> bool:
        """Whether `batch` may have changed it."""
        return bool(self.paths) and (batch.everywhere or not self.paths.isdisjoint(batch.paths))

    async def read_settled(self, running: Mapping[str, Any]) -> ConfigDocument:
        """As `read_config`, when it is to take the place of what is `running`."""
        assert self.path is not None, "no configuration file"  # noqa: S101 - it concerns a batch
        if running and not has_content(self.path):
            await anyio.sleep(self._doubt_seconds)  # It is half-way through a save.
        return read_config(self.path)


def has_content(path: Path) -> bool:
    """Whether there is a file with anything but white space in it."""
    try:
        return bool(read_regular(path).strip())
    except OSError:
        return False


def read_config(path: Path) -> ConfigDocument:
    """The content of a TOML file, which knows its lines.

    Raises:
        ConfigInvalid: it cannot be read or is not TOML.
    """
    try:
        text = decoded(read_regular(path))
        document = ConfigDocument(parse_toml(text), path=str(path), text=text)
    except OSError as error:
        raise ConfigInvalid(path, f"cannot be read: {reason_of(error)}") from error
    except DocumentInvalid as error:
        raise ConfigInvalid(path, error.reason, error.line) from error
    remember(secrets_in(document))
    return document
