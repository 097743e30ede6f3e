"""Edits of plugins that are remote services: another server, other credentials, mistakes."""

from __future__ import annotations

from base64 import b64encode
from pathlib import Path
from typing import Any

import pytest
from mcp_service import Service, serving_mcp
from remotes import QUICK, remote
from serving import edit, serving
from trees import PluginTree

from dagstack_dev.core.errors.files import ManifestInvalid
from dagstack_dev.core.errors.remote import HandshakeFailed
from dagstack_dev.core.events import PluginRejected


async def test_an_edit_of_the_url_connects_to_another_server(
    tree: PluginTree, steady: Service, tmp_path: Path
) -> None:
    manifest = remote(tree, f'url = "{steady.url}"')
    with serving_mcp(tmp_path / "other") as other:
        async with serving(tree) as live:
            await live.plugin("user").count()
            edit(manifest, steady.url, other.url)
            await live.settle()
            await live.plugin("user").count()
            assert live.affected == {"remote", "user"}
            assert (steady.calls, other.calls) == (["count"], ["count"])
            assert steady.requests[-1].startswith("DELETE")


async def test_a_url_where_nothing_listens_is_rolled_back(
    tree: PluginTree, steady: Service, tmp_path: Path
) -> None:
    manifest = remote(tree, f'url = "{steady.url}"')
    with serving_mcp(tmp_path / "other") as other:
        other.kill()
        async with serving(tree) as live:
            edit(manifest, steady.url, other.url)
            await live.settle()
            assert live.states == {"remote": "ready", "user": "ready"}
            assert live.status("remote", "data").pending
            assert f"nothing listens at {other.url}" in str(live.status("remote", "data").error)
            assert await live.plugin("user").count() == 1


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ("auth_secret_env = 'NOT_SET'", "environment variable NOT_SET is not set"),
        ("auth_secret_env = 'TWO_LINES'", "TWO_LINES holds cannot stand in a header"),
        ("tls_ca_bundle = 'none.pem'", "none.pem, which holds no CA certificates (No such file"),
        ("tls_ca_bundle = 'dagstack.toml'", "dagstack.toml, which holds no CA certificates"),
    ],
)
async def test_what_cannot_even_be_tried_leaves_the_connection_alone(
    tree: PluginTree,
    steady: Service,
    more: str,
    told: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TWO_LINES", "a\nb")
    manifest = remote(tree, f'mcp_http.url = "{steady.url}"')
    async with serving(tree) as live:
        await live.plugin("user").count()
        before = steady.requests
        url = steady.url.replace("http:", "https:") if "tls" in more else steady.url
        edit(
            manifest, f'mcp_http.url = "{steady.url}"', f'[plugin.mcp_http]\nurl = "{url}"\n{more}'
        )
        await live.settle()
        (rejected,) = live.of(PluginRejected)
        assert isinstance(rejected.error, ManifestInvalid)
        assert told in str(rejected.error)
        assert rejected.error.line == 8
        assert steady.requests == before
        assert await live.plugin("user").count() == 2


@pytest.mark.parametrize(
    ("more", "header"),
    [
        ("auth = { token = 'sesame' }", "authorization: Bearer sesame"),
        ("mcp_http.auth_secret_env = 'SECRET'", "authorization: Bearer sesame"),
        (
            "mcp_http = { auth_secret_env = 'SECRET', auth_header = 'Authorization' }",
            "authorization: Bearer sesame",
        ),
        ("mcp_http = { auth_secret_env = 'SECRET', auth_header = 'x-key' }", "x-key: sesame"),
    ],
)
async def test_credentials_reach_the_server_and_no_log(
    tree: PluginTree,
    steady: Service,
    more: str,
    header: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    captured_events: list[Any],
) -> None:
    monkeypatch.setenv("SECRET", "sesame\n")
    caplog.set_level("DEBUG")
    steady.demand(header)
    remote(tree, f'url = "{steady.url}"\n        {more}')
    async with serving(tree) as live:
        assert await live.plugin("user").count() == 1
    assert "sesame" not in caplog.text + str(captured_events)


async def test_credentials_in_a_url_are_sent_and_not_logged_with_it(
    tree: PluginTree,
    steady: Service,
    caplog: pytest.LogCaptureFixture,
    captured_events: list[Any],
) -> None:
    caplog.set_level("DEBUG")
    steady.demand(f"authorization: Basic {b64encode(b'user:sesame').decode()}")
    remote(tree, f'url = "{steady.url.replace("//", "//user:sesame@")}"')
    async with serving(tree) as live:
        assert await live.plugin("user").count() == 1
    assert "sesame" not in caplog.text + str(captured_events)


async def test_wrong_credentials_are_not_tried_again(tree: PluginTree, steady: Service) -> None:
    steady.demand("authorization: Bearer right")
    manifest = remote(tree, f'url = "{steady.url}"\n        auth = {{ token = "wrong" }}')
    async with serving(tree, **QUICK) as live:
        error = live.status("remote", "data").error
        assert isinstance(error, HandshakeFailed)
        assert "does not accept our credentials (401 Unauthorized)" in str(error)
        assert "wrong" not in str(error)
        asked = len(steady.requests)
        edit(manifest, "wrong", "right")
        await live.settle()
        assert live.states == {"remote": "ready", "user": "ready"}
        assert asked == 1
