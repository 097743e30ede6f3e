"""What a manifest may say of a plugin that is an MCP server."""

from __future__ import annotations

import ssl
from textwrap import dedent

import pytest

from dagstack_dev.core.errors.files import ManifestInvalid
from dagstack_dev.core.manifest.fields import PluginManifest
from dagstack_dev.core.manifest.parsing import load_manifest_from_dict, parse_manifest
from dagstack_dev.runtimes.mcp.http_settings import HttpSettings
from dagstack_dev.runtimes.mcp.stdio_settings import StdioSettings

HEAD = """\
[plugin]
name = "server"
kind = "tool"
core_version = ">=0.1"
"""


def parse(text: str) -> PluginManifest:
    return parse_manifest((HEAD + dedent(text)).encode(), "dagstack.toml")


def problems(text: str) -> dict[str, tuple[int | None, str]]:
    with pytest.raises(ManifestInvalid) as caught:
        parse(text)
    return {each.field: (each.line, each.message) for each in caught.value.problems}


@pytest.mark.parametrize(
    "text",
    [
        'command = ["node", "my server.js"]',
        "command = \"node 'my server.js'\"",
        "entry_point = \"node 'my server.js'\"",
        '[plugin.mcp_stdio]\ncommand = ["node", "my server.js"]',
        '[plugin.mcp_stdio]\ncommand = "node \\"my server.js\\""',
        'command = "node \'my server.js\'"\nmcp_stdio = { command = ["node", "my server.js"] }',
    ],
)
def test_a_command_may_stand_in_several_places(text: str) -> None:
    settings = StdioSettings.of(parse(f'runtime = "mcp_stdio"\n{text}'))
    assert settings == StdioSettings(
        command=("node", "my server.js"),
        env={},
        working_dir=None,
    )


def test_the_table_may_hold_everything() -> None:
    manifest = parse("""
        runtime = "mcp_stdio"
        [plugin.mcp_stdio]
        command = ["serve"]
        working_dir = "inner"
        env = { A = "1" }
        startup_timeout_sec = 5
        timeout_sec = 7
    """)
    assert manifest.startup_timeout_sec == 5
    assert manifest.mcp_stdio is not None
    assert manifest.mcp_stdio.timeout_sec == 7
    assert StdioSettings.of(manifest) == StdioSettings(
        command=("serve",),
        env={"A": "1"},
        working_dir="inner",
    )


def test_the_class_of_a_plugin_with_both_runtimes_is_no_command() -> None:
    text = 'runtime = ["mcp_stdio", "in_process"]\nentry_point = "plugin:Plugin"\n'
    assert problems(text) == {"command": (1, 'missing; add command = ["python", "server.py"]')}
    assert StdioSettings.of(parse(text + 'command = "serve"')).command == ("serve",)


def test_a_token_becomes_a_header() -> None:
    manifest = parse("""
        runtime = "mcp_http"
        url = "https://example.org/mcp"
        auth = { token = "t" }
        mcp_http = { timeout_sec = 5, tls_verify = false, tls_ca_bundle = "ca.pem" }
    """)
    settings = HttpSettings.of(manifest, "")
    assert settings.headers == {"Authorization": "Bearer t"}
    assert settings.call_timeout == 5
    assert settings.tls is not None
    assert settings.tls.verify_mode is ssl.CERT_NONE


@pytest.mark.parametrize(
    ("text", "field", "line", "message"),
    [
        ('runtime = "mcp_stdio"', "command", 1, "missing; add command"),
        ('runtime = "mcp_stdio"\ncommand = []', "command", 6, "missing; add command"),
        ('runtime = "mcp_stdio"\ncommand = "a \'b"', "command", 6, "No closing quotation"),
        ('runtime = "mcp_stdio"\ncommand = ["a", 1]', "command", 6, "valid string, not 1"),
        ('runtime = "mcp_stdio"\ncommand = ["", "a"]', "command", 6, "name is empty"),
        ('runtime = "mcp_stdio"\ncommand = ["a\\u0000"]', "command", 6, "NUL"),
        ('runtime = "mcp_stdio"\nenv = { "A=B" = "1" }', "env", 6, "cannot be set"),
        ('runtime = "mcp_http"', "endpoint", 1, "missing; add endpoint"),
        ('runtime = "mcp_http"\nurl = "localhost:80"', "url", 6, "is no URL"),
        ('runtime = "mcp_http"\nurl = "http://"', "url", 6, "is no URL"),
        ('runtime = "mcp_stdio"\ncommand = "a"\nurl = "http://a"', "url", 7, "change runtime"),
        (
            'runtime = "mcp_stdio"\ncommand = "a"\nendpoint = "http://a"',
            "endpoint",
            7,
            'is for runtime = "mcp_http"',
        ),
    ],
)
def test_what_is_wrong_is_reported_with_its_line(
    text: str, field: str, line: int, message: str
) -> None:
    found = problems(text)
    assert found[field][0] == line
    assert message in found[field][1]


def test_unknown_keys_of_the_tables_are_reported() -> None:
    found = problems("""
        runtime = ["mcp_stdio", "mcp_http"]
        command = "serve"
        url = "http://localhost/mcp"
        auth = { tokn = "t" }
        [plugin.mcp_stdio]
        wrking_dir = "x"
        timeout_sec = 0
        env = { A = 1 }
        [plugin.mcp_http]
        tls_verfy = false
        url = 5
    """)
    assert found["auth"] == (9, "unknown key 'tokn'; did you mean 'token'?")
    assert found["mcp_stdio.wrking_dir"] == (11, "unknown key; did you mean 'working_dir'?")
    assert found["mcp_stdio.timeout_sec"] == (12, "should be greater than 0, not 0")
    assert found["mcp_stdio.env.A"] == (13, "should be a valid string, not ***")
    assert found["mcp_http.tls_verfy"] == (15, "unknown key; did you mean 'tls_verify'?")
    assert found["mcp_http.url"] == (16, "should be a valid string, not 5")


def test_contradictions_between_field_and_table_are_reported() -> None:
    found = problems("""
        runtime = ["mcp_stdio", "mcp_http"]
        command = "serve"
        env = { A = "1" }
        startup_timeout_sec = 5
        endpoint = "http://a/mcp"
        url = "http://b/mcp"
        auth = { token = "t" }
        [plugin.mcp_stdio]
        command = "other"
        env = { A = "2" }
        startup_timeout_sec = 6
        [plugin.mcp_http]
        url = "http://c/mcp"
        auth_secret_env = "SECRET"
    """)
    assert found == {
        "mcp_stdio.command": (14, "differs from command; keep one of them"),
        "mcp_stdio.env": (15, "differs from env; keep one of them"),
        "mcp_stdio.startup_timeout_sec": (
            16,
            "differs from startup_timeout_sec; keep one of them",
        ),
        "url": (11, "differs from endpoint; keep one of them"),
        "mcp_http.url": (18, "differs from endpoint; keep one of them"),
        "auth": (12, "mcp_http.auth_secret_env names a secret as well; keep one of them"),
    }


def test_what_is_null_is_left_out() -> None:
    values = {"name": "server", "kind": "tool", "core_version": ">=0.1", "runtime": "mcp_stdio"}
    nothing = {"command": None, "env": None, "auth": None}
    manifest = load_manifest_from_dict(values | nothing | {"entry_point": "node server.js"})
    assert (manifest.command, manifest.env, manifest.auth) == ((), {}, {})
    with pytest.raises(ManifestInvalid, match="priority"):
        load_manifest_from_dict(values | {"command": ["node"], "priority": None})
