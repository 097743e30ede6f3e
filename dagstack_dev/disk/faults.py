"""What of a plugin's folder is not taken as its author may think, though the plugin runs."""

from __future__ import annotations

from enum import Enum, auto
from typing import TYPE_CHECKING, Final, NamedTuple

from dagstack_dev.core.manifest_forms import MANIFEST_NAMES, differing_forms

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dagstack_dev.core.sources import PluginSource

TOO_MANY_FILES: Final = 10_000
"""How many files a plugin may have before it is said to hold something that is no source."""


class FaultKind(Enum):
    """What a fault is about."""

    UNREADABLE = auto()
    MANIFEST_IGNORED = auto()
    TOO_MANY_FILES = auto()


class Fault(NamedTuple):
    """One of them: `message` says it of `path`."""

    kind: FaultKind
    path: str
    message: str


def faults_of(source: PluginSource) -> Iterator[Fault]:
    """Yield what of a folder is left out, or takes its time."""
    for path, file in source.files.items():
        if file.error is not None and not path.endswith((".py", source.manifest_name)):
            message = f"cannot be read: {file.error}; the plugin is taken without it"
            yield Fault(FaultKind.UNREADABLE, f"{source.home}/{path}", message)
    if len(MANIFEST_NAMES & source.files.keys()) > 1:
        for name in differing_forms(source.manifest_text):
            message = (
                f"holds a manifest that does not count: {source.manifest_name} beside it takes "
                "precedence and says something else"
            )
            yield Fault(FaultKind.MANIFEST_IGNORED, f"{source.folder}/{name}", message)
    if len(source.files) > TOO_MANY_FILES:
        message = (
            f"holds more than {TOO_MANY_FILES:,} files, and all of them count as its source; name "
            "those that are data in `ignore` of its manifest, or --ignore them"
        )
        yield Fault(FaultKind.TOO_MANY_FILES, source.folder, message)
