"""A configuration that knows the file it was read from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dagstack_dev.core.secrets import masked
from dagstack_dev.core.toml_lines import line_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class ConfigDocument(dict[str, Any]):
    """The content of a TOML file.

    Args:
        values: its tables.
        path: the file.
        text: its text, valid TOML.
    """

    def __init__(self, values: Mapping[str, Any], *, path: str, text: str) -> None:
        super().__init__(values)
        self.path = path
        self._text = text

    def __repr__(self) -> str:
        return repr(masked(dict(self)))

    def line_of(self, keys: Sequence[str]) -> int | None:
        """The line of what stands at `keys`; where nothing does, of what is around it."""
        for length in range(len(keys), 0, -1):
            line = line_of(self._text, keys[:length])
            if line is not None:
                return line
        return None
