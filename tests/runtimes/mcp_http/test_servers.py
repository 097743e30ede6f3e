"""Plugins that are remote services under a dev server: they fail, come back and are edited."""

from __future__ import annotations

from pathlib import Path

import anyio
import pytest
from mcp_service import Options, Service, serving_mcp
from remotes import QUICK, reached, remote
from serving import serving
from trees import PluginTree

from dagstack_dev.core.errors.remote import HandshakeFailed, HandshakeTimeout, ServerLost
from dagstack_dev.core.lifecycle import State
from dagstack_dev.runtimes.mcp import http_settings


async def test_its_tools_are_methods(tree: PluginTree, steady: Service) -> None:
    remote(tree, f'url = "{steady.url}"')
    async with serving(tree) as live:
        assert live.states == {"remote": "ready", "user": "ready"}
        assert await live.plugin("user").count() == 1
    assert steady.requests[-1].startswith("DELETE")


async def test_a_server_that_is_down_is_waited_for(tree: PluginTree, service: Service) -> None:
    remote(tree, f'url = "{service.url}"')
    service.kill()
    async with serving(tree, **QUICK) as live:
        assert live.states == {"remote": "failed", "user": "blocked"}
        error = live.status("remote", "data").error
        assert isinstance(error, ServerLost)
        assert f"nothing listens at {service.url}" in str(error)
        service.start()
        await reached(live, "user", State.READY)
        assert await live.plugin("user").count() == 1


async def test_a_server_that_dies_takes_its_plugin_down_until_it_is_back(
    tree: PluginTree, service: Service
) -> None:
    remote(tree, f'url = "{service.url}"')
    async with serving(tree, **QUICK) as live:
        user = live.plugin("user")
        live.forget()
        service.kill()
        await reached(live, "user", State.BLOCKED)
        assert isinstance(live.status("remote", "data").error, ServerLost)
        service.start(Options(tool="new_tool"))
        await reached(live, "user", State.READY)
        assert await user.count() == 1
        assert await live.plugin("remote", "data").new_tool() == "new_tool"


@pytest.mark.parametrize(
    "options", [Options(stateless=True), Options(modern=True)], ids=["stateless", "modern"]
)
async def test_a_server_without_sessions_is_missed_too(
    tree: PluginTree, tmp_path: Path, options: Options, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_settings, "LOOK_SECONDS", 0.1)
    with serving_mcp(tmp_path / "service", options) as service:
        remote(tree, f'url = "{service.url}"')
        async with serving(tree, **QUICK) as live:
            assert await live.plugin("user").count() == 1
            live.forget()
            service.kill()
            await reached(live, "user", State.BLOCKED)
            assert isinstance(live.status("remote", "data").error, ServerLost)
            service.start()
            await reached(live, "user", State.READY)
            assert await live.plugin("user").count() == 2


async def test_a_server_that_dies_during_a_call_fails_the_call(
    tree: PluginTree, service: Service
) -> None:
    remote(tree, f'url = "{service.url}"')
    async with serving(tree, **QUICK) as live, anyio.create_task_group() as tasks:

        async def call() -> None:
            with pytest.raises(ServerLost):
                await live.plugin("remote", "data").slow(seconds=60)

        tasks.start_soon(call)
        while service.calls != ["slow"]:
            await anyio.sleep(0.01)
        service.kill()
        await reached(live, "user", State.BLOCKED)


async def test_a_server_that_was_restarted_between_two_calls_is_connected_to_anew(
    tree: PluginTree, tmp_path: Path
) -> None:
    with serving_mcp(tmp_path / "service", Options(json=True)) as service:
        remote(tree, f'url = "{service.url}"')
        async with serving(tree, **QUICK) as live:
            first = await live.plugin("remote", "data").process()
            live.forget()
            service.kill()
            service.start()
            await reached(live, "user", State.READY)
            assert await live.plugin("remote", "data").process() != first


async def test_a_server_that_does_not_answer_is_given_up_in_time(tree: PluginTree) -> None:
    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener:
        port = listener.extra(anyio.abc.SocketAttribute.local_port)
        remote(tree, f'url = "http://127.0.0.1:{port}/mcp"\n        startup_timeout_sec = 1')
        async with serving(tree, retry_seconds=0) as live:
            assert isinstance(live.status("remote", "data").error, HandshakeTimeout)


async def test_a_server_that_ran_here_and_is_not_found_for_a_while_comes_back(
    tree: PluginTree, service: Service
) -> None:
    remote(tree, f'url = "{service.url}"')
    async with serving(tree, **QUICK) as live:
        live.forget()
        service.kill()
        service.start()
        service.answer_next("404", "404", "405", "403", "404")
        await reached(live, "remote", State.FAILED)
        error = live.status("remote", "data").error
        assert isinstance(error, ServerLost)
        await reached(live, "user", State.READY)
        assert await live.plugin("user").count() == 1


async def test_what_never_ran_here_waits_for_an_edit(tree: PluginTree, service: Service) -> None:
    remote(tree, f'url = "{service.url}"')
    service.answer_next("404")
    async with serving(tree, **QUICK) as live:
        assert isinstance(live.status("remote", "data").error, HandshakeFailed)
        await live.server.wait_idle()
        assert live.states == {"remote": "failed", "user": "blocked"}


@pytest.mark.parametrize("status", ["429", "502", "503", "504"])
async def test_what_says_later_at_first_comes_up_by_itself(
    tree: PluginTree, service: Service, status: str
) -> None:
    remote(tree, f'url = "{service.url}"')
    service.answer_next(status, status)
    async with serving(tree, **QUICK) as live:
        await reached(live, "user", State.READY)
