"""The page is served, on a port that stays, with the API behind it."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.request import HTTPCookieProcessor, Request, build_opener, urlopen

import pytest
from anyio import to_thread
from command_runs import CHECKOUT, Watching, inherited
from pages import paging
from trees import PluginTree

from dagstack_dev.page import serving

BLOCKS = """
import pathlib, time

class Plugin:
    def setup(self, ctx):
        pass

    def block(self):
        pathlib.Path("blocked").touch()
        while not pathlib.Path("go").exists():
            time.sleep(0.01)
        return "done"
"""

PROGRAM = """
import sys
from urllib.request import urlopen

import anyio

from dagstack_dev import DevServer, LocalApi

async def main():
    api = LocalApi(page=True)
    async with DevServer("plugins", api=api):
        print("starlette" in sys.modules or "uvicorn" in sys.modules)
        status = await anyio.to_thread.run_sync(get, api.page.address)
        print(status)
        print("starlette" in sys.modules)

def get(address):
    with urlopen(address) as answer:
        return answer.status

anyio.run(main, backend="{backend}")
"""


async def test_the_page_and_the_api_are_at_one_address(tree: PluginTree) -> None:
    tree.plugin("one")
    async with paging(tree) as page:
        index = await page.asked("GET", "/")
        assert index.status == 200
        assert index.headers["content-type"].startswith("text/html")
        assert b'<script type="module" src="main.js">' in index.content
        assert (await page.asked("GET", "/main.js")).status == 200
        status = await page.asked("GET", "/api/status", page.admitted)
        assert [each["plugin"] for each in status.json["plugins"]] == ["demo/one"]


async def test_the_port_is_the_same_next_time_and_another_while_it_is_taken(
    tree: PluginTree,
) -> None:
    tree.plugin("one")
    async with paging(tree) as first, paging(tree) as second:
        assert first.access.port != second.access.port
        ports = first.access.port, second.access.port
        assert (await second.asked("GET", "/")).status == 200
    async with paging(tree) as first, paging(tree) as second:
        assert (first.access.port, second.access.port) == ports


def test_the_page_tells_while_a_plugin_blocks_the_event_loop(
    tree: PluginTree, tmp_path: Path, watch: Callable[..., Watching]
) -> None:
    tree.plugin("one", code=BLOCKS)
    run = watch("plugins", "--page", columns=100)
    base, _, token = run.line("page  http").split()[-1].partition("?token=")
    headers = {"Authorization": f"Bearer {token}"}

    def asked(path: str, body: bytes | None = None) -> Any:
        with urlopen(Request(f"{base}api/{path}", body, headers)) as answer:
            return json.load(answer)

    with ThreadPoolExecutor() as threads:
        call = threads.submit(asked, "call", b'{"plugin": "demo/one", "method": "block"}')
        while not (tmp_path / "blocked").exists():
            time.sleep(0.01)
        loop = asked("status")["main_loop"]
        (tmp_path / "go").touch()
        assert call.result()["result"] == "done"
    assert not loop["is_responding"]
    assert loop["plugin"] == "demo/one"
    assert run.end() == 0


@pytest.mark.parametrize("is_asked", [True, False])
async def test_a_copy_of_the_process_does_not_keep_the_port(
    tree: PluginTree, *, is_asked: bool
) -> None:
    tree.plugin("one")
    async with paging(tree) as page:
        if is_asked:
            assert (await page.asked("GET", "/")).status == 200
        child = os.fork()
        if not child:
            signal.pause()
            os._exit(0)
    try:
        async with paging(tree) as after:
            assert after.access.port == page.access.port
            assert (await after.asked("GET", "/")).status == 200
    finally:
        os.kill(child, signal.SIGKILL)
        await to_thread.run_sync(os.waitpid, child, 0)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_on_either_event_loop_nothing_is_imported_before_a_browser_connects(
    tree: PluginTree, tmp_path: Path, backend: str
) -> None:
    tree.plugin("one")
    program = tmp_path / "program.py"
    program.write_text(PROGRAM.format(backend=backend))
    done = subprocess.run(
        [sys.executable, "-W", "error", program],
        cwd=tmp_path,
        env=inherited() | CHECKOUT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("False\n200\nTrue\n", "")


async def test_files_may_be_links_as_some_installers_make_them(
    tree: PluginTree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree.plugin("one")
    web = tmp_path / "web"
    shutil.copytree(serving.WEB, web, copy_function=lambda source, to: Path(to).symlink_to(source))
    monkeypatch.setattr(serving, "WEB", web)
    async with paging(tree) as page:
        for path in ("/", "/main.js", "/vendor/preact.js"):
            assert (await page.asked("GET", path)).status == 200


def test_the_address_is_printed_and_lets_a_browser_in(
    tree: PluginTree, watch: Callable[..., Watching]
) -> None:
    tree.plugin("one")
    run = watch("plugins", "--page", columns=100)
    (address,) = re.findall(r"http://\S+", run.line("page  http"))
    base = address.partition("?")[0]
    assert f"{base}mcp  its token: dagstack-dev page --agents" in run.line("agents  ")
    browser = build_opener(HTTPCookieProcessor())
    with browser.open(address) as answer:
        (secret,) = re.findall('name="origin-secret" content="(.+?)"', answer.read().decode())
    status = Request(f"{base}api/status", headers={"Origin-Secret": secret})
    with browser.open(status) as answer:
        assert b"demo/one" in answer.read()
    assert run.end() == 0
    assert run.errors == ""
