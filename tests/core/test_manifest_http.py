"""What a manifest may say of a plugin that is a remote service."""

from __future__ import annotations

import pytest

from dagstack_dev.core.errors.files import ManifestInvalid
from dagstack_dev.core.manifest.parsing import parse_manifest
from dagstack_dev.runtimes.mcp.http_settings import HttpSettings

HEAD = """
[plugin]
name = "remote"
kind = "data"
core_version = ">=0.1"
runtime = "mcp_http"
"""


def settings(text: str) -> HttpSettings:
    return HttpSettings.of(parse_manifest((HEAD + text).encode(), "dagstack.toml"), "")


@pytest.mark.parametrize("places", [["url"], ["endpoint"], ["mcp_http.url"], ["url", "endpoint"]])
def test_a_url_may_stand_in_any_of_three_places(places: list[str]) -> None:
    found = settings("\n".join(f'{place} = "https://example.org/mcp"' for place in places))
    assert found.url == "https://example.org/mcp"
    assert (found.call_timeout, found.headers) == (60, {})


@pytest.mark.parametrize(
    "url",
    [
        "example.org",
        "http://",
        "ftp://a/b",
        "http://a:b/",
        "http://a:0/",
        "http://[::1/",
        "http://a b/",
        "http://user:secret@a:b/",
    ],
)
def test_what_is_no_url_is_reported_without_being_quoted(url: str) -> None:
    with pytest.raises(ManifestInvalid, match="url: is no URL; write for example") as caught:
        settings(f'url = "{url}"')
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "headers"),
    [
        ('auth = { token = "t" }', {"Authorization": "Bearer t"}),
        ('auth = { token = "t" }\nmcp_http.auth_header = "X-Key"', {"X-Key": "t"}),
    ],
)
def test_a_token_goes_into_a_header(text: str, headers: dict[str, str]) -> None:
    assert settings(f'url = "http://a/"\n{text}').headers == headers


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('auth = { token = "a\\nsecret" }', "auth: token: is empty, or cannot stand in"),
        ('auth = { tokn = "secret" }', "did you mean 'token'"),
        ('mcp_http.auth_header = "X-Key"', "mcp_http.auth_header: has nothing to carry"),
        ('mcp_http = { auth_header = "a: b", auth_secret_env = "A" }', "mcp_http.auth_header"),
        ('auth.token = "secret"\nmcp_http.auth_secret_env = "A"', "keep one of them"),
    ],
)
def test_credentials_that_make_no_sense(text: str, told: str) -> None:
    with pytest.raises(ManifestInvalid) as caught:
        settings(f'url = "http://a/"\n{text}')
    assert told in str(caught.value)
    assert 'secret"' not in str(caught.value)
