"""The playground as a person starts it: real commands, a real browser's requests, Ctrl-C."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from playgrounds import PLAYGROUND, Copy, fetch


@asynccontextmanager
async def started(*arguments: str | Path) -> AsyncIterator[Process]:
    """A Python program; it must not be left running."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-W", "error", *arguments),
        env=os.environ | {"PYTHONPATH": str(PLAYGROUND.parent)},
        stdout=PIPE,
        stderr=PIPE,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def line_with(process: Process, *words: str) -> str:
    """The next line of output with all these words."""
    assert process.stdout is not None
    while line := await process.stdout.readline():
        if all(word in line.decode() for word in words):
            return line.decode()
    assert process.stderr is not None
    raise AssertionError((await process.stderr.read()).decode())


async def interrupted(process: Process) -> tuple[int | None, str, str]:
    """Press Ctrl-C: exit code, the rest of the output and all that was complained about."""
    process.send_signal(signal.SIGINT)
    output, complaints = await process.communicate()
    return process.returncode, output.decode(), complaints.decode()


async def test_watch_serves_the_site_and_reloads_it_until_ctrl_c(copy: Copy) -> None:
    command = ("-m", "dagstack_dev", "watch", copy.plugins, "--config", copy.config)
    async with started(*command, "--log-format", "json", "--log-level", "debug") as process:
        listening: dict[str, Any] = json.loads(await line_with(process, '"listening"'))
        assert listening["plugin"] == "web/site"
        assert (await fetch(listening["url"]))[0] == 200

        copy.edit("greeter/plugin.py", 'GREETING = "Hello"', 'GREETING = "Ahoy"')
        again: dict[str, Any] = json.loads(await line_with(process, '"listening"'))
        await line_with(process, '"tick"', "Ahoy, world!")
        assert "Ahoy, world!" in (await fetch(again["url"]))[1]

        code, output, complaints = await interrupted(process)
        assert (code, complaints) == (0, "")
        stopped = [json.loads(line) for line in output.splitlines()]
        torn_down = {each["plugin"] for each in stopped if each.get("to_state") == "stopped"}
        assert len(torn_down) == 10


async def test_an_app_with_the_server_inside_answers_every_request_across_edits(
    copy: Copy,
) -> None:
    command = (PLAYGROUND / "app/main.py", copy.plugins, "--config", copy.config, "--port", "0")
    async with started(*command) as process:
        url = (await line_with(process, "serving", "10 plugins")).split()[1]
        assert "Hello, world!" in (await fetch(url))[1]
        answers: list[tuple[int, str]] = []

        async def keep_asking() -> None:
            while True:
                answers.append(await fetch(url + "welcome"))

        asking = [asyncio.create_task(keep_asking()) for _ in range(4)]
        greeting = "Hello"
        for new in ("Ahoy", "Bonjour", "Ciao"):
            copy.edit("greeter/plugin.py", f'GREETING = "{greeting}"', f'GREETING = "{new}"')
            assert "job/greeter" in await line_with(process, "reloaded")
            assert f"<h1>{new}, world!</h1>" in (await fetch(url))[1]
            greeting = new
        undo = copy.edit("library/plugin.py", "class Library:", "class Library")
        await line_with(process, "rejected", "content/library")
        undo()
        copy.edit("library/plugin.py", "self._html = {}", "self._html = dict()")
        assert "content/library" in await line_with(process, "reloaded")
        for each in asking:
            assert not each.done()
            each.cancel()
        await asyncio.gather(*asking, return_exceptions=True)

        assert {status for status, _ in answers} == {200}
        assert "<h1>Ciao, world!</h1>" in answers[-1][1]
        code, output, complaints = await interrupted(process)
        assert (code, complaints) == (0, "")
        assert "stopped after" in output


async def test_an_app_outlives_a_mistake_in_a_plugin_and_ends_with_connections_open(
    copy: Copy,
) -> None:
    command = (PLAYGROUND / "app/main.py", copy.plugins, "--config", copy.config, "--port", "0")
    async with started(*command) as process:
        url = (await line_with(process, "serving", "10 plugins")).split()[1]
        copy.edit("greeter/plugin.py", "GREETING}", "MISSING}")
        await line_with(process, "reloaded", "job/greeter")
        status, text = await fetch(url)
        assert (status, "NameError" in text) == (500, True)

        port = urlsplit(url).port
        silent = [await asyncio.open_connection("127.0.0.1", port) for _ in range(2)]
        assert (await fetch(url))[0] == 500  # By now it has these connections, too.
        code, _, complaints = await interrupted(process)
        assert (code, complaints) == (0, "")
        for _, writer in silent:
            writer.close()
            await writer.wait_closed()
