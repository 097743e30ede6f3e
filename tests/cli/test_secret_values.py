"""No secret is shown, whatever it comes out in."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from command_runs import CHECKOUT, Watching
from facts import OPENAI
from trees import PluginTree

from dagstack_dev import PluginContext, PluginManifest, load_manifest_from_dict
from dagstack_dev.app.config import read_config
from dagstack_dev.cli.excerpts import explain
from dagstack_dev.core.errors.files import ManifestInvalid
from dagstack_dev.core.manifest.parsing import parse_manifest

SECRETS = ["k3y-abcdef", "c0nfig-pw", "t0k-logged", "l1ne-before", "pw-in-url", "n3sted-one"]


@pytest.mark.parametrize("log_format", ["console", "logfmt", "json"])
def test_no_secret_of_manifests_configurations_code_or_logs_comes_out_in_any_format(
    tree: PluginTree, tmp_path: Path, watch: Callable[..., Watching], log_format: str
) -> None:
    (tmp_path / "config.toml").write_text(
        '[demo.a]\ndatabase = { password = "c0nfig-pw" }\n', encoding="utf-8"
    )
    tree.plugin(
        "a",
        manifest='env = { ACME_KEY = "k3y-abcdef" }\n',
        code="""
        import logging

        class Settings:
            def __repr__(self):
                return "Settings(api_key='n3sted-one')"

        class Plugin:
            def setup(self, ctx):
                log = ctx.logger
                log.info("one", token="t0k-logged", deep=[{"client_secret": ["n3sted-one"]}])
                log.info("two", settings=Settings(), url="redis://me:pw-in-url@host/0")
                log.info("k3y-abcdef and " + ctx.config["database"]["password"])
                logging.getLogger("acme").warning("three %s", {"password": "t0k-logged"})
                try:
                    raise ValueError("refused: password=t0k-logged")
                except ValueError:
                    log.exception("four")
                password = {
                    "one": "a",
                    "two": "l1ne-before",
                }
                raise RuntimeError("five c0nfig-pw", ctx.config)
        """,
    )
    run = watch(
        "plugins", "--config", "config.toml", "--log-file", "log", "--log-format", log_format
    )
    run.line({"console": "Ctrl-C to stop"}.get(log_format, "watch.started"))
    assert run.end() == 0
    written = "\n".join(run.lines) + (tmp_path / "log").read_text(encoding="utf-8")
    for word in ("one", "two", "three", "four", "five", "***"):
        assert word in written
    assert [secret for secret in SECRETS if secret in written] == []


def test_lines_of_a_manifest_that_is_rejected_are_masked(tmp_path: Path) -> None:
    path = tmp_path / "dagstack.toml"
    text = 'name = "a"\nauth = { token = "abc" }\nenv = { A = 1, B = "two" }\nkind = "b"\n'
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ManifestInvalid) as caught:
        parse_manifest(text.encode(), str(path))
    shown = "\n".join(line.plain for line in explain(caught.value))
    assert "env = ***" in shown
    assert "abc" not in shown + str(caught.value)
    assert "two" not in shown + str(caught.value)


def test_a_manifest_that_is_no_toml_is_shown_without_its_secrets(tmp_path: Path) -> None:
    path = tmp_path / "dagstack.toml"
    path.write_text('name = "a"\nauth = { token = "abc" }\nenv = { A = "two\n', encoding="utf-8")
    with pytest.raises(ManifestInvalid) as caught:
        parse_manifest(path.read_bytes(), str(path))
    shown = "\n".join(line.plain for line in explain(caught.value))
    assert "auth = ***" in shown
    assert "abc" not in shown
    assert "two" not in shown


def test_reprs_of_manifests_contexts_and_configurations_are_masked(tmp_path: Path) -> None:
    manifest = load_manifest_from_dict(
        {
            "name": "a",
            "kind": "b",
            "core_version": ">=0.1",
            "runtime": ["mcp_http", "mcp_stdio"],
            "command": "run",
            "endpoint": "https://me:abc-1@host/mcp",
            "auth": {"token": "abc-2"},
            "mcp_stdio": {"env": {"A": "abc-3"}},
            "metadata": {"deep": [{"password": "abc-4"}]},
        }
    )
    assert isinstance(manifest, PluginManifest)
    file = tmp_path / "config.toml"
    file.write_text("[a]\npassword = 'abc-5'\n", encoding="utf-8")
    config = read_config(file)
    context = PluginContext(
        config={"token": "abc-6"}, logger=None, registry=None, extras={"token": "abc-7"}
    )
    shown = f"{manifest!r} {manifest} {manifest.metadata!r} {config!r} {context!r} {OPENAI}"
    assert "abc-" not in shown
    assert shown.count("***") == 10
    assert manifest.auth == {"token": "abc-2"}


SERVER = """
import os, sys
key, mode = os.environ["ACME_KEY"], os.environ["MODE"]
print("\\x1b[2Jkey", key, "mode", mode, file=sys.stderr, flush=True)
sys.exit(1)
"""


@pytest.mark.parametrize("log_format", ["console", "json"])
def test_what_a_server_says_of_its_environment_is_masked_and_does_nothing(
    tree: PluginTree, watch: Callable[..., Watching], log_format: str
) -> None:
    tree.write(
        "server/dagstack.toml",
        """\
        [plugin]
        name = "server"
        kind = "demo"
        core_version = ">=0.1"
        runtime = "mcp_stdio"
        command = ["python", "server.py", "--token", "t0k-in-args"]
        env = { ACME_KEY = "k3y-abcdef", MODE = "fast" }
        """,
    )
    tree.write("server/server.py", SERVER)
    run = watch("plugins", "--log-format", log_format)
    run.line("0 ready" if log_format == "console" else "watch.started")
    assert run.end() == 0
    written = "\n".join(run.lines)
    assert "key *** mode fast" in written
    assert not any(each in written for each in ("k3y-abcdef", "t0k-in-args", "\x1b"))


def test_what_plugins_log_in_their_tests_is_masked_and_does_nothing(tree: PluginTree) -> None:
    tree.plugin(
        "one",
        code=r"""
        class Plugin:
            def setup(self, ctx):
                ctx.logger.warning("ready \x1b[2J password=t0k-logged", token="t0k-logged")
        """,
    )
    run = subprocess.run(
        [sys.executable, "-m", "dagstack_dev", "test", "plugins", "--check", "lifecycle"],
        cwd=tree.root.parent,
        env=os.environ | CHECKOUT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "ready \\x1b[2J password=***  token=***" in run.stderr
    assert "t0k" not in run.stderr + run.stdout
