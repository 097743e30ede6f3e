"""What attackers try against the dev page: each is a request over a real socket, and is refused."""

from __future__ import annotations

import re
from pathlib import Path

from pages import paging, problem
from trees import PluginTree

from dagstack_dev.page.guard import HEADERS

TARGETS = ("/", "/main.js", "/api/status", "/api/openapi.json", "/api/events", "/nowhere")


async def test_another_host_is_refused_whatever_else_is_right(tree: PluginTree) -> None:
    """DNS rebinding: the browser takes the page of the attacker for ours, but names its host."""
    tree.plugin("one")
    async with paging(tree) as page:
        port = page.access.port
        for host in (
            f"attacker.example:{port}",
            f"127.0.0.1.attacker.example:{port}",
            f"localhost.attacker.example:{port}",
            f"attacker.example#127.0.0.1:{port}",
            f"user@127.0.0.1:{port}",
            f"0.0.0.0:{port}",
            f"[::1]:{port}",
            f"127.0.0.1:{port + 1}",
            "127.0.0.1",
            "localhost",
            "",
        ):
            headers = page.admitted | {"Host": host, "Origin": f"http://{host}"}
            for target in (*TARGETS, f"/?token={page.access.token}"):
                answer = await page.asked("GET", target, headers)
                assert answer.status == 403, (host, target)
                assert "set-cookie" not in answer.headers
                assert page.access.token.encode() not in answer.content
        for host in (f"127.0.0.1:{port}", f"localhost:{port}"):
            assert (await page.asked("GET", "/", {"Host": host})).status == 200
            known = page.admitted | {"Host": host, "Origin": f"http://{host}"}
            assert (await page.asked("GET", "/api/status", known)).status == 200


async def test_a_request_without_a_host_or_with_two_is_refused(tree: PluginTree) -> None:
    tree.plugin("one")
    async with paging(tree) as page:
        ours, other = f"Host: 127.0.0.1:{page.access.port}", "Host: attacker.example"
        for version, lines in (
            ("1.0", []),
            ("1.1", []),
            ("1.1", [ours, other]),
            ("1.1", [other, ours]),
        ):
            answer = await page.first_line(f"GET / HTTP/{version}", *lines, "Connection: close")
            assert re.match(r"HTTP/1\.1 40[03] ", answer), (version, lines)


async def test_another_origin_is_refused_with_the_secrets_and_with_the_token(
    tree: PluginTree,
) -> None:
    tree.plugin("one")
    async with paging(tree) as page:
        port = page.access.port
        for origin in (
            "http://attacker.example",
            f"http://127.0.0.1:{port + 1}",
            f"https://127.0.0.1:{port}",
            f"http://localhost:{port}",  # The request is addressed to 127.0.0.1.
            f"http://127.0.0.1:{port}.attacker.example",
            "http://127.0.0.1",
            "null",
            "",
        ):
            for admission in (page.admitted, page.bearer):
                headers = admission | {"Origin": origin}
                for target in TARGETS:
                    assert (await page.asked("GET", target, headers)).status == 403
                paused = await page.asked("POST", "/api/pause", headers, b"{}")
                assert problem(paused) == (403, "foreign")
        assert not page.live.server.is_paused


async def test_the_token_for_agents_opens_nothing_but_their_tools(tree: PluginTree) -> None:
    tree.plugin("one")
    async with paging(tree) as page:
        token = page.access.agents_token
        for method, target in (
            ("GET", "/api/status"),
            ("GET", "/api/events"),
            ("POST", "/api/call"),
            ("POST", "/api/pause"),
            ("GET", "/api/../mcp"),
            ("POST", "/mcp/../api/pause"),
        ):
            for headers in (
                page.agents_bearer,
                {"Origin-Secret": token, "Cookie": f"{page.access.cookie}={token}"},
            ):
                answer = await page.asked(method, target, headers, b"{}")
                assert answer.status in {401, 404, 405}, (method, target)
        assert not page.live.server.is_paused
        assert (await page.asked("GET", f"/?token={token}")).status == 401


FETCHES = [
    # site, mode, dest
    ("cross-site", "no-cors", "script"),
    ("cross-site", "no-cors", "image"),
    ("cross-site", "cors", "empty"),
    ("cross-site", "navigate", "iframe"),
    ("cross-site", "navigate", "embed"),
    ("same-site", "cors", "empty"),  # Another port of this machine.
    ("same-site", "no-cors", "script"),
    ("unheard-of", "cors", "empty"),
]


async def test_what_another_site_has_a_browser_fetch_is_refused(tree: PluginTree) -> None:
    tree.plugin("one")
    async with paging(tree) as page:
        for fetch in FETCHES:
            headers = page.admitted | fetched(*fetch)
            for target in TARGETS:
                assert (await page.asked("GET", target, headers)).status == 403, (fetch, target)
        link = page.admitted | fetched("cross-site", "navigate", "document")
        assert (await page.asked("GET", "/", link)).status == 200
        assert problem(await page.asked("GET", "/api/status", link)) == (403, "foreign")
        assert (await page.asked("POST", "/", link, b"")).status == 403


def fetched(site: str, mode: str, dest: str) -> dict[str, str]:
    return {"Sec-Fetch-Site": site, "Sec-Fetch-Mode": mode, "Sec-Fetch-Dest": dest}


METHODS = ("PUT", "DELETE", "PATCH", "TRACE", "OPTIONS", "PROPFIND", "get", "post")


async def test_no_method_is_a_way_around(tree: PluginTree) -> None:
    tree.plugin("one")
    async with paging(tree) as page:
        override = {"X-HTTP-Method-Override": "POST", "X-HTTP-Method": "POST"}
        for method in METHODS:
            for target in TARGETS:
                assert (await page.asked(method, target)).status in {401, 404, 405}
            assert problem(await page.asked(method, "/api/pause", page.admitted)) in {
                (403, "foreign"),
                (405, "refused"),
            }
        answer = await page.asked("GET", "/api/pause", page.admitted | override)
        assert problem(answer) == (405, "refused")
        assert not page.live.server.is_paused
        preflight = {
            "Origin": "http://attacker.example",
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "authorization",
            "Access-Control-Request-Private-Network": "true",
        }
        answer = await page.asked("OPTIONS", "/api/call", preflight)
        assert answer.status == 403
        assert not any(name.startswith("access-control") for name in answer.headers)


async def test_only_files_of_the_page_are_served(tree: PluginTree) -> None:
    tree.plugin("one")
    async with paging(tree) as page:
        for target in (
            "/../guard.py",
            "/..%2fguard.py",
            "/%2e%2e/guard.py",
            "/%2e%2e%2fguard.py",
            "/vendor/../../guard.py",
            "/vendor/..%2f..%2fguard.py",
            "/..%5cguard.py",
            "/....//guard.py",
            "//etc/passwd",
            "/%2fetc/passwd",
            "/etc/passwd",
            f"/{Path(__file__)}",
            "/index.html%00.js",
            "/%00",
            "/%c0%ae%c0%ae/guard.py",
            "/vendor",
            "/vendor/",
            "/.",
            "/~root",
            "http://attacker.example/main.js",
            "*",
        ):
            answer = await page.asked("GET", target)
            assert answer.status in {400, 404}, target
            assert b"import" not in answer.content
            assert b"root:" not in answer.content


async def test_no_spelling_of_a_path_leads_around_the_guard(tree: PluginTree) -> None:
    tree.plugin("one")
    async with paging(tree) as page:
        for target in (
            "/%61pi/status",
            "/api%2fstatus",
            "/api/./status",
            "/api//status",
            "//api/status",
            "/./api/status",
            "/vendor/../api/status",
            "/API/status",
            "/api/status/",
            "/api/status;",
            "/main.js/../api/status",
            "http://attacker.example/api/status",
        ):
            answer = await page.asked("GET", target)
            assert answer.status in {401, 404}, target
            assert b"demo/one" not in answer.content


async def test_every_answer_has_the_headers_that_protect(tree: PluginTree) -> None:
    tree.plugin("one")
    async with paging(tree) as page:
        answers = [
            await page.asked("GET", "/"),
            await page.asked("GET", "/main.js"),
            await page.asked("GET", "/nowhere"),
            await page.asked("PUT", "/"),
            await page.asked("GET", f"/?token={page.access.token}"),
            await page.asked("GET", "/?token=x"),
            await page.asked("GET", "/", {"Host": "attacker.example"}),
            await page.asked("GET", "/api/status"),
            await page.asked("GET", "/api/status", page.admitted),
            await page.asked("GET", "/api/nowhere", page.admitted),
            await page.asked("HEAD", "/", page.admitted),
        ]
        assert [each.status for each in answers] == [
            *(200, 200, 404, 405, 200, 401, 403, 401, 200, 404, 200)
        ]
        for answer in answers:
            for name, value in HEADERS.items():
                assert answer.headers[name.lower()] == value
        policy = HEADERS["Content-Security-Policy"]
        assert policy.startswith("default-src 'none'; ")
        assert "unsafe" not in policy
        assert "*" not in policy
