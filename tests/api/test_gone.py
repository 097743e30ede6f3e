"""A client that goes away before it has its answer ends what it has asked for."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest
from answering import answering
from anyio import Path as AsyncPath
from anyio import sleep, to_thread
from command_runs import GUARD_SECONDS
from trees import PluginTree

from dagstack_dev.api.client import _Connection

PATIENT = """
import asyncio, pathlib

class Plugin:
    async def wait(self):
        pathlib.Path({folder!r}, "waits").touch()
        try:
            await asyncio.Event().wait()
        finally:
            pathlib.Path({folder!r}, "ended").touch()
"""


async def test_the_call_of_a_client_that_goes_away_is_cancelled(
    tree: PluginTree, tmp_path: Path
) -> None:
    tree.plugin("patient", code=PATIENT.format(folder=str(tmp_path)))
    async with answering(tree) as api:
        connection = _Connection(api.socket, GUARD_SECONDS)
        body = json.dumps({"plugin": "demo/patient", "method": "wait"})
        await to_thread.run_sync(connection.request, "POST", "/api/call", body)
        await until_there(tmp_path / "waits")
        connection.close()
        await until_there(tmp_path / "ended")
        assert (await api.at_rest())["is_current"]


async def until_there(path: Path) -> None:
    while not await AsyncPath(path).exists():
        await sleep(0.01)


async def test_a_client_that_goes_away_in_the_midst_of_its_request_is_no_error(
    tree: PluginTree, caplog: pytest.LogCaptureFixture
) -> None:
    async with answering(tree) as api:
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(api.socket)
            client.sendall(b"POST /api/call HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{")
        await api.get("status")  # By then the server has seen it go.
    assert not [each for each in caplog.records if each.name == "uvicorn.error"]
