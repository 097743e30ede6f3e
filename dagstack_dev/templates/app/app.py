"""An app with plugins that are reloaded while it runs: python app.py."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from pathlib import Path

from dagstack_dev import DevServer, LocalApi

PLUGINS = Path(__file__).parent / "plugins"


async def main() -> None:
    """Greet once a second; save plugins/greeter/plugin.py, and the next greeting shows it."""
    stopped = asyncio.Event()  # As `dagstack-dev stop` asks for.
    async with DevServer(PLUGINS, api=LocalApi(on_stop=stopped.set)) as server:
        greeter = server.registry.get_plugin("tool", "greeter")
        while not stopped.is_set():
            # In a thread, a call waits while its plugin is being reloaded.
            print(await asyncio.to_thread(greeter.greet, "Ada"), flush=True)
            with suppress(TimeoutError):
                await asyncio.wait_for(stopped.wait(), timeout=1)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
    with suppress(KeyboardInterrupt):
        asyncio.run(main())
