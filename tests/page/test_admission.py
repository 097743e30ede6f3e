"""The token in the address of the dev page, and the two secrets that a browser gets for it."""

from __future__ import annotations

import logging
import re
import socket
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import structlog
from command_runs import GUARD_SECONDS, Watching
from pages import paging, problem
from trees import PluginTree

from dagstack_dev.core.events import Fact


async def test_nothing_is_answered_without_both_secrets_or_the_token(tree: PluginTree) -> None:
    tree.plugin("one")
    async with paging(tree) as page, paging(tree) as other:
        access = page.access
        cookies = (
            f"{access.cookie}=",
            f"{access.cookie}={access.session[:-1]}",
            f"{access.cookie}={access.session}x",
            f"{access.cookie}={access.token}",
            f"{access.cookie}={other.access.session}",
            f"{access.cookie}=\xe9",
            f"{other.access.cookie}={access.session}",
            f"{other.access.cookie}={other.access.session}",
            f"x{access.cookie}={access.session}",
            access.session,
        )
        tokens = (
            "",
            "Bearer",
            "Bearer ",
            f"Bearer {access.token[:-1]}",
            f"Bearer {access.session}",
            f"Bearer {access.origin_secret}",
            f"Bearer {other.access.token}",
            f"Bearer {access.agents_token}",
            f"Basic {access.token}",
            access.token,
            "Bearer \xe9",
        )
        origin_secrets = (
            "",
            access.origin_secret[:-1],
            f"{access.origin_secret}x",
            access.session,
            access.token,
            other.access.origin_secret,
            "\xe9",
        )
        own = page.admitted
        attempts: list[dict[str, str]] = [
            {},
            page.cookie,  # As any server of this machine gets it, that the browser visits.
            own | {"Cookie": ""},
            page.cookie | {"Authorization": f"Bearer {access.origin_secret}"},
            {"Cookie": f"{own['Cookie']}; Origin-Secret={access.origin_secret}"},
            *(own | {"Cookie": each} for each in cookies),
            *(own | {"Origin-Secret": each} for each in origin_secrets),
            *({"Authorization": each} for each in tokens),
        ]
        for headers in attempts:
            for target in ("/api/status", "/api/events", "/api/openapi.json", "/api/", "/api/x"):
                for query in ("", f"?token={access.token}"):
                    answer = await page.asked("GET", target + query, headers)
                    assert problem(answer) == (401, "not-admitted"), (headers, target)
                    assert answer.headers["www-authenticate"] == "Bearer"
            same = headers | {"Origin": access.url.rstrip("/")}
            stop = await page.asked("POST", "/api/stop", same, b"{}")
            assert problem(stop) == (401, "not-admitted")
            head = await page.asked("HEAD", "/api/events", headers)
            assert head.status == 401
        detail = (await page.asked("GET", "/api/status")).json["detail"]
        assert "dagstack-dev page" in detail


async def test_both_secrets_are_enough_and_so_is_the_token(tree: PluginTree) -> None:
    tree.plugin("one")
    async with paging(tree) as page:
        named, own = page.cookie["Cookie"], page.admitted
        for headers in (
            own,
            page.bearer,
            {"Authorization": f"bearer  {page.access.token}"},
            # Another server of this machine has set one of this name, for a longer path.
            own | {"Cookie": f"{page.access.cookie}=tossed; {named}"},
            own | {"Cookie": f"{named};theme=dark; {page.access.cookie}=tossed"},
        ):
            assert (await page.asked("GET", "/api/status", headers)).status == 200


async def test_a_change_by_the_page_says_where_it_is_from(tree: PluginTree) -> None:
    tree.plugin("one")
    async with paging(tree) as page:

        def waits() -> bool:
            return page.live.server.is_paused

        answer = await page.asked("POST", "/api/pause", page.admitted, b"{}")
        assert problem(answer) == (403, "foreign")
        assert waits() is False
        origin = {"Origin": page.access.url.rstrip("/")}
        answer = await page.asked("POST", "/api/pause", page.admitted | origin, b"{}")
        assert answer.status == 200
        assert waits() is True
        answer = await page.asked("POST", "/api/pause", page.bearer, b'{"paused": false}')
        assert answer.status == 200
        assert waits() is False


async def test_a_stream_is_for_those_who_are_let_in(tree: PluginTree) -> None:
    tree.plugin("one")
    async with paging(tree) as page:
        for target in ("/api/events", "/api/logs/stream"):
            for too_little in ({}, page.cookie):
                assert (await page.asked("GET", target, too_little)).status == 401
            first = await page.event(target, page.admitted)
            assert first == ": connected"


async def test_the_token_is_exchanged_for_two_secrets(
    tree: PluginTree,
) -> None:
    tree.plugin("one")
    async with paging(tree) as page:
        access = page.access
        answer = await page.asked("GET", f"/?token={access.token}")
        assert answer.status == 200
        (secret,) = re.findall('name="origin-secret" content="(.+?)"', answer.content.decode())
        assert secret == access.origin_secret
        name, _, attributes = answer.headers["set-cookie"].partition("; ")
        assert name == f"{access.cookie}={access.session}"
        assert str(access.port) in access.cookie
        assert {*attributes.split("; ")} == {"HttpOnly", "Path=/", "SameSite=strict"}
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert access.token not in f"{answer.headers}{answer.content!r}"
        assert len({access.token, access.session, secret, access.agents_token}) == 4
        for wrong in ("x", access.token[:-1], f"{access.token}x", access.session, "%ff%00"):
            answer = await page.asked("GET", f"/?token={wrong}")
            assert answer.status == 401
            assert "set-cookie" not in answer.headers
            assert b"dagstack-dev page" in answer.content
            assert access.origin_secret.encode() not in answer.content
            assert wrong == "x" or wrong.encode() not in answer.content
        answer = await page.asked("GET", "/?token=x", page.cookie)  # An old bookmark.
        assert (answer.status, answer.headers["location"]) == (303, "/")
        assert "set-cookie" not in answer.headers
        for target in ("/", "/?token=", "/?token=x", "//", "/api/", "/admission.js"):
            answer = await page.asked("GET", target, page.cookie)
            assert access.origin_secret.encode() not in answer.content
        for target in ("/main.js", "/index.html", "//"):
            answer = await page.asked("GET", f"{target}?token={access.token}")
            assert "set-cookie" not in answer.headers
            assert access.origin_secret.encode() not in answer.content


async def test_secrets_of_an_earlier_run_are_refused_at_the_same_port(tree: PluginTree) -> None:
    tree.plugin("one")
    async with paging(tree) as page:
        before = page.access
        old = page.admitted
    async with paging(tree) as page:
        assert page.access.port == before.port
        assert (await page.asked("GET", "/api/status", old)).status == 401
        assert (await page.asked("GET", f"/?token={before.token}", old)).status == 401


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere 127.0.0.2 has to be set up")
async def test_it_listens_at_one_address_of_this_machine(tree: PluginTree) -> None:
    tree.plugin("one")
    async with paging(tree) as page:
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.2", page.access.port), GUARD_SECONDS)


async def test_nothing_that_is_logged_or_answered_holds_the_token(
    tree: PluginTree,
    caplog: pytest.LogCaptureFixture,
    captured_events: list[structlog.typing.EventDict],
) -> None:
    tree.plugin("one")
    with caplog.at_level(logging.DEBUG):
        async with paging(tree) as page:
            access = page.access
            secrets = access.token, access.session, access.origin_secret, access.agents_token
            token = f"token={page.access.token}"
            names = ("status", "events/last", "logs", "openapi.json", "reloads")
            targets = (f"/x?{token}", *(f"/api/{each}" for each in names))
            said: list[object] = [
                (await page.asked("GET", each, page.admitted)).content for each in targets
            ]
            await page.first_line(f"GET /?{token}", "\0: broken")
            facts: list[Fact] = [*page.live.facts]
    said += [
        repr(page.access),
        *facts,
        *captured_events,
        *(each.getMessage() for each in caplog.records),
    ]
    assert not [each for each in said for secret in secrets if secret in str(each)]


def test_the_token_is_printed_once_and_is_in_no_log(
    tree: PluginTree, tmp_path: Path, watch: Callable[..., Watching]
) -> None:
    tree.plugin("one")
    log = tmp_path / "log"
    run = watch("plugins", "--page", "--log-file", log, "--log-level", "debug", columns=100)
    (token,) = re.findall(r"token=(\S+)", run.line("page  http"))
    assert run.end() == 0
    assert run.screen.count(token) == 1
    assert "watch.started" in log.read_text()
    assert token not in log.read_text() + run.errors
