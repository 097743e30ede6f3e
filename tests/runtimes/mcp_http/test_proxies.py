"""Proxies that the environment names: which are used, and who is blamed for what they do."""

from __future__ import annotations

from traceback import format_exception

import pytest
from mcp_talks import refusal
from odd_servers import http_usual, over_http, plain

from dagstack_dev.core.errors.remote import HandshakeFailed, ServerLost
from dagstack_dev.core.secrets import MASK, masked_text
from dagstack_dev.runtimes.mcp.http_proxy import proxy_for

NOWHERE = "http://no-such-host.invalid/mcp"


@pytest.fixture(autouse=True)
def none_are_excepted(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize("variable", ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"])
async def test_a_proxy_is_used_and_named(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with over_http(lambda _: plain("418 I'm a teapot")) as proxy:
        monkeypatch.setenv(variable, proxy.removesuffix("/mcp"))
        told = await refusal(NOWHERE)
    assert "418" in told
    assert f"(by the proxy of {variable})" in told


@pytest.mark.parametrize(
    "excepted",
    [
        "*",
        "127.0.0.1",
        " 127.0.0.1 , other",
        "other 127.0.0.1",
        "127.0.0.0/8",
        "127.0.0.1:PORT",
        "http.invalid,127.0.0.1",
    ],
)
@pytest.mark.parametrize("variable", ["NO_PROXY", "no_proxy"])
async def test_what_no_proxy_names_is_reached_directly(
    variable: str, excepted: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with over_http(lambda message: http_usual(message, initialize={})) as url:
        monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
        monkeypatch.setenv(variable, excepted.replace("PORT", url.split(":")[2].split("/")[0]))
        assert "names no version of the protocol" in await refusal(url)


@pytest.mark.parametrize(
    ("excepted", "url", "is_direct"),
    [
        ("example.org", "http://example.org/", True),
        ("example.org", "http://sub.example.org/", True),
        (".example.org", "http://example.org/", True),
        ("*.example.org", "http://sub.example.org/", True),
        ("EXAMPLE.org", "https://Example.ORG./", True),
        ("example.org", "http://badexample.org/", False),
        ("example.org:80", "http://example.org/", True),
        ("example.org:443", "https://example.org/", True),
        ("example.org:81", "http://example.org/", False),
        ("10.0.0.0/8", "http://10.1.2.3/", True),
        ("10.0.0.0/8", "http://11.1.2.3/", False),
        ("::1", "http://[::1]:8000/", True),
        ("[::1]", "http://[::1]:8000/", True),
        ("fd00::/8", "http://[fd00::7]/", True),
        ("localhost", "http://localhost:9/", True),
        ("localhost", "http://127.0.0.1:9/", False),
        ("10.0.0.0/99,:,[", "http://10.1.2.3/", False),
        ("", "http://example.org/", False),
    ],
)
def test_names_addresses_networks_and_ports_may_be_excepted(
    excepted: str, url: str, *, is_direct: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ALL_PROXY", "127.0.0.1:3128")
    monkeypatch.setenv("NO_PROXY", excepted)
    found = proxy_for(url)
    assert (found is None) is is_direct
    assert found is None or found.url == "http://127.0.0.1:3128"


async def test_a_proxy_that_is_down_is_blamed_by_its_variable(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://user:secret@127.0.0.1:1")
    told = await refusal(NOWHERE, ServerLost)
    assert "nothing listens at http://127.0.0.1:1 (connection refused)" in told
    assert "this is the proxy of HTTP_PROXY: correct it, or add no-such-host.invalid to" in told
    assert "secret" not in told


async def test_a_proxy_that_wants_credentials_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    async with over_http(lambda _: plain("407 Proxy Authentication Required")) as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy)
        told = await refusal(NOWHERE, HandshakeFailed)
    assert "asks for credentials (407 Proxy Authentication Required)" in told
    assert "HTTP_PROXY" in told


@pytest.mark.parametrize(
    "proxy", ["nonsense://127.0.0.1:1", "http://[", "http://a:port", "http://a:70000"]
)
async def test_what_can_be_no_proxy_is_named(proxy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", proxy)
    with pytest.raises(HandshakeFailed, match="the proxy of HTTP_PROXY cannot be used"):
        await refusal(NOWHERE, ServerLost)


@pytest.mark.parametrize("password", ["secret/1", "1[secret]", "secret\u2100"])
async def test_the_password_of_what_can_be_no_proxy_is_not_shown(
    password: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", f"http://user:{password}@127.0.0.1:1")
    with pytest.raises(HandshakeFailed, match="the proxy of HTTP_PROXY cannot be used") as caught:
        await refusal(NOWHERE, ServerLost)
    assert "secret" not in "".join(format_exception(caught.value))


async def test_a_proxy_that_makes_no_tunnel_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    async with over_http(lambda _: b"") as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy)
        told = await refusal("https://no-such-host.invalid/mcp", ServerLost)
    assert "cannot be reached by the proxy of HTTPS_PROXY (405 Method Not Allowed)" in told


async def test_a_token_in_the_place_of_a_user_is_masked_from_then_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://t0ken-of-mine@127.0.0.1:1")
    await refusal(NOWHERE, ServerLost)
    assert masked_text("it is t0ken-of-mine") == f"it is {MASK}"
