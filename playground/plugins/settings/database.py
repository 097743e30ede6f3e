"""Where the database lives and how it is opened."""

from __future__ import annotations

import getpass
import os
import sqlite3
import tempfile
from pathlib import Path

SCHEMA = Path(__file__).with_name("schema.sql")


def default_path() -> Path:
    """Return a path outside the plugin folder: writing there must not trigger a reload."""
    user = getattr(os, "getuid", getpass.getuser)()
    return Path(tempfile.gettempdir(), f"dagstack-playground-{user}", "settings.sqlite3")


def open_database(path: os.PathLike[str]) -> sqlite3.Connection:
    """Open the database, creating folder and tables as needed.

    Statements commit at once and may run in any thread; callers run one at a time.
    """
    Path(path).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    try:
        connection.executescript(SCHEMA.read_text("utf-8"))
    except BaseException:
        connection.close()
        raise
    return connection
