"""Settings that outlive every reload, kept in SQLite."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio
from anyio import to_thread

from .database import default_path, open_database

if TYPE_CHECKING:
    import sqlite3

    from dagstack_dev import PluginContext


class Settings:
    """Text values by key: a stored value wins over the one in the config file."""

    _connection: sqlite3.Connection
    _lock: anyio.Lock
    _configured: dict[str, str]

    async def setup(self, ctx: PluginContext) -> None:
        path = await anyio.Path(ctx.config.get("path", default_path())).expanduser()
        values = ctx.config.get("values", {})
        self._configured = {key: str(value) for key, value in values.items()}
        self._lock = anyio.Lock()
        self._connection = await to_thread.run_sync(open_database, path)
        ctx.callback(to_thread.run_sync, self._connection.close)
        ctx.logger.info("database_opened", path=str(path))

    async def get(self, key: str, default: str = "") -> str:
        stored = await self._execute("SELECT key, value FROM settings WHERE key = ?", key)
        return (self._configured | stored).get(key, default)

    async def set(self, key: str, value: str) -> None:
        await self._execute("INSERT OR REPLACE INTO settings VALUES (?, ?)", key, value)

    async def all(self) -> dict[str, str]:
        return self._configured | await self._execute("SELECT key, value FROM settings")

    async def _execute(self, sql: str, *parameters: str) -> dict[str, str]:
        """Run one statement and return the pairs it selects."""

        def run() -> dict[str, str]:
            return dict(self._connection.execute(sql, parameters))

        async with self._lock:
            return await to_thread.run_sync(run)
