"""What the client below a session makes of servers, with the official SDK on both sides."""

from __future__ import annotations

from pathlib import Path

import anyio
import pytest
from mcp_service import Options, Service, serving_mcp
from mcp_talks import refusal, talking

from dagstack_dev.core.errors.remote import ServerLost, ToolError

NO_PAUSES = (0.0, 0.0)
"""With which requests are tried again at once."""


async def test_a_session_calls_tools_and_ends_with_a_goodbye(steady: Service) -> None:
    async with talking(steady.url) as talk:
        assert await talk.call("count") == 1
    assert steady.requests[-1].startswith("DELETE")


@pytest.mark.parametrize("status", ["502", "503", "504"])
async def test_a_gateway_that_fails_is_asked_again_for_what_may_be_repeated(
    steady: Service, status: str
) -> None:
    async with talking(steady.url, pauses=NO_PAUSES) as talk:
        steady.answer_next(f"then-{status}", status)
        assert await talk.call("look") == 2
        steady.answer_next(status, status)
        assert len(await talk.session.list_tools(20)) == len(talk.tools)
    assert steady.calls == ["look", "look"]


async def test_a_call_that_may_have_been_made_is_not_made_again(steady: Service) -> None:
    async with talking(steady.url, pauses=NO_PAUSES) as talk:
        steady.answer_next("then-503")
        with pytest.raises(ToolError, match="503 Service Unavailable"):
            await talk.call("count")
        assert await talk.call("count") == 2
    assert steady.calls == ["count", "count"]


async def test_three_tries_are_all(steady: Service) -> None:
    async with talking(steady.url, pauses=NO_PAUSES) as talk:
        steady.answer_next("503", "503", "503")
        with pytest.raises(ToolError, match="behind its gateway"):
            await talk.session.list_tools(20)
        assert await talk.call("count") == 1


async def test_an_error_status_fails_one_request_and_not_the_session(steady: Service) -> None:
    async with talking(steady.url) as talk:
        steady.answer_next("500")
        with pytest.raises(ToolError, match="500 Internal Server Error"):
            await talk.call("count")
        assert await talk.call("count") == 1


async def test_a_server_that_keeps_answering_is_not_taken_for_lost(steady: Service) -> None:
    async with talking(steady.url, look_every=0.01) as talk:
        with anyio.move_on_after(0.5) as watched:
            await talk.connection.watch()
        assert watched.cancelled_caught
        assert await talk.call("count") == 1


@pytest.mark.parametrize(
    "options",
    [Options(), Options(json=True), Options(stateless=True)],
    ids=["plain", "json", "stateless"],
)
async def test_a_server_that_dies_during_a_call_is_lost(tmp_path: Path, options: Options) -> None:
    with serving_mcp(tmp_path / "service", options) as service:
        async with talking(service.url) as talk, anyio.create_task_group() as tasks:

            async def call() -> None:
                with pytest.raises(ServerLost, match="nothing listens at http://127"):
                    await talk.call("slow", seconds=60)

            tasks.start_soon(call)
            while service.calls != ["slow"]:
                await anyio.sleep(0.01)
            service.kill()


async def test_a_dead_server_is_noticed_by_its_stream(tmp_path: Path) -> None:
    with serving_mcp(tmp_path / "service") as service:
        async with talking(service.url) as talk:
            while "GET /mcp" not in service.requests:
                await anyio.sleep(0.01)
            service.kill()
            with pytest.raises(ServerLost, match="nothing listens"):
                await talk.connection.watch()


async def test_a_dead_server_without_a_stream_is_noticed_by_asking(tmp_path: Path) -> None:
    with serving_mcp(tmp_path / "service", Options(stateless=True)) as service:
        async with talking(service.url, look_every=0.05) as talk:
            service.kill()
            with pytest.raises(ServerLost, match="nothing listens"):
                await talk.connection.watch()


async def test_a_restarted_server_does_not_know_the_session_any_more(tmp_path: Path) -> None:
    with serving_mcp(tmp_path / "service") as service:
        async with talking(service.url) as talk:
            service.kill()
            service.start()
            with pytest.raises(ServerLost, match="has been restarted"):
                await talk.call("count")
            with pytest.raises(ServerLost, match="has been restarted"):
                await talk.connection.watch()
        assert service.calls == []


async def test_a_restarted_server_without_sessions_goes_on(tmp_path: Path) -> None:
    with serving_mcp(tmp_path / "service", Options(stateless=True)) as service:
        async with talking(service.url, pauses=NO_PAUSES) as talk:
            service.kill()
            service.start()
            assert await talk.call("count") == 1


async def test_a_server_that_hangs_is_left_all_the_same(service: Service) -> None:
    async with talking(service.url, notice_seconds=0.05):
        service.hang()
    assert not any(each.startswith("DELETE") for each in service.requests)


async def test_a_server_that_is_not_there_says_where_it_was_looked_for(tmp_path: Path) -> None:
    with serving_mcp(tmp_path / "service") as service:
        service.kill()
        told = await refusal(service.url, ServerLost)
        assert f"nothing listens at {service.url} (connection refused); start the server" in told


async def test_credentials_are_asked_for_and_not_shown(steady: Service) -> None:
    steady.demand("authorization: Bearer right")
    async with talking(steady.url, token="right") as talk:
        assert await talk.call("count") == 1
    wrong = await refusal(steady.url, token="not-so-secret")
    assert "does not accept our credentials (401 Unauthorized)" in wrong
    assert "not-so-secret" not in wrong
    without = await refusal(steady.url)
    assert "asks for credentials (401 Unauthorized)" in without
    assert "auth_secret_env" in without


async def test_credentials_that_are_no_longer_accepted_end_the_connection(steady: Service) -> None:
    async with talking(steady.url, look_every=0.01) as talk:
        steady.demand("authorization: Bearer new")
        with pytest.raises(ServerLost, match="asks for credentials"):
            await talk.connection.watch()


async def test_a_redirect_to_the_same_server_is_followed(steady: Service) -> None:
    async with talking(steady.url + "/") as talk:
        assert await talk.call("count") == 1
    asked = steady.requests
    assert asked.count("POST /mcp/") == asked.count("POST /mcp") == 4, "the notice, too"


async def test_a_wrong_path_says_so(steady: Service) -> None:
    told = await refusal(steady.url + "/wrong")
    assert f"there is no MCP server at {steady.url}/wrong (404 Not Found)" in told
