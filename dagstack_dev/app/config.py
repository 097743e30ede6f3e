"""The configuration file of the command line."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import tomli

if TYPE_CHECKING:
    from pathlib import Path


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


def has_content(path: Path) -> bool:
    """Whether there is a file with anything but white space in it."""
    try:
        return bool(path.read_bytes().strip())
    except OSError:
        return False


def read_config(path: Path) -> dict[str, Any]:
    """The content of a TOML file.

    Raises:
        ConfigInvalid: it cannot be read or is not TOML.
    """
    try:
        return tomli.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise ConfigInvalid(path, f"cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigInvalid(path, "is not UTF-8 text") from error
    except tomli.TOMLDecodeError as error:
        raise ConfigInvalid(path, f"is not valid TOML: {error.msg}", error.lineno) from error
