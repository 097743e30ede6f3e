"""The configuration file of the command line."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dagstack_dev.core.config import ConfigDocument
from dagstack_dev.core.documents import DocumentInvalid, read_document
from dagstack_dev.core.errors.files import ConfigInvalid
from dagstack_dev.core.secrets import remember, secrets_in
from dagstack_dev.disk.reading import content_of

if TYPE_CHECKING:
    import os

    from dagstack_dev.core.sources import SourceFile


def read_config(path: str | os.PathLike[str], file: SourceFile | None = None) -> ConfigDocument:
    """Read the configuration in a TOML file; it knows its lines.

    Args:
        path: of the file.
        file: what it holds; None to read it from disk.

    Raises:
        ConfigInvalid: it cannot be read or is not TOML.
    """
    path = str(path)
    try:
        read = read_document(content_of(path, file))
    except DocumentInvalid as error:
        raise ConfigInvalid.of(path, error.reason, error.line) from error
    remember(secrets_in(read.values))
    return ConfigDocument(read.values, path=path, text=read.text)
