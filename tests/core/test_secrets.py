"""What is masked, and what is left as it is."""

from __future__ import annotations

import json
from textwrap import dedent
from typing import Any

import pytest

from dagstack_dev.core import secrets
from dagstack_dev.core.secrets import (
    is_secret_key,
    masked,
    masked_lines,
    masked_text,
    may_hold,
    remember,
    remember_environment,
    secrets_in,
)


@pytest.fixture(autouse=True)
def _nothing_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(secrets, "_known", {})


@pytest.mark.parametrize(
    "key",
    [
        "password", "db_passwd", "PASSWORD", "userPassword", "smtp_pass", "token", "access_token",
        "refreshToken", "api_key", "apikey", "API-KEY", "X-Api-Key", "privateKey", "secret_key",
        "aws_secret_access_key", "client_secret", "credentials", "Authorization",
        "proxy-authorization", "Set-Cookie", "auth", "secretValue", "JWT",
    ],
)  # fmt: skip
def test_keys_that_speak_of_secrets(key: str) -> None:
    assert is_secret_key(key)


@pytest.mark.parametrize(
    "key",
    [
        "key", "primary_key", "keyboard", "tokenizer", "token_count", "tokens_used", "passenger",
        "compass", "author", "auth_header", "auth_secret_env", "password_file", "token_url",
        "cookie_name", "monkey", "pass_through", "1", "",
    ],
)  # fmt: skip
def test_keys_that_do_not(key: str) -> None:
    assert not is_secret_key(key)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ({"token": "abc"}, {"token": "***"}),
        ({"a": [{"b": {"api_key": "x", "n": 1}}]}, {"a": [{"b": {"api_key": "***", "n": 1}}]}),
        ({"password": {"old": "a", "new": "b"}}, {"password": "***"}),
        ({"password": 1234}, {"password": "***"}),
        ([("password", "a"), ("b", "c")], [("password", "***"), ("b", "c")]),
        (["run", "--token", "abc", "-v"], ["run", "--token", "***", "-v"]),
        (["token", "password", "cookie"], ["token", "password", "cookie"]),
        ({b"authorization": b"abc"}, {b"authorization": "***"}),
        ({"a": ("x", "https://me:pw@host/")}, {"a": ("x", "https://me:***@host/")}),
    ],
)
def test_values_below_such_keys_are_masked_at_any_depth(value: Any, shown: Any) -> None:
    assert masked(value) == shown


def test_what_hides_nothing_stays_and_circles_end() -> None:
    plain: dict[str, Any] = {"password": None, "has_token": True, "max_tokens": 4096, "token": ""}
    circle = plain | {"self": []}
    circle["self"] += [circle, circle]
    assert masked(circle) == plain | {"self": ["...", "..."]}


@pytest.mark.parametrize(
    "value",
    [
        {"API-Key": "abc"}, {"a": [{"JWT": 1}]}, {"a": ["run", "--Db-Passwd", "abc"]},
        {"a": [("cookie", "a")]}, {"a": "https://me:pw@host/"}, {"a": "sent Basic abc123def"},
        {"a": "AKIA0123456789ABCDEF"}, {"a": "gho_0123456789abcdefghij"}, {"a": "it is kn0wn-1"},
        {"a": "lines\nkn0wn-1"}, {"a": 'it is "kn0wn" 2'},
    ],
)  # fmt: skip
def test_a_line_of_json_says_whether_it_may_hold_a_secret(value: Any) -> None:
    remember(["kn0wn-1", '"kn0wn" 2'])
    assert masked(value) != value
    assert may_hold(json.dumps(value))
    assert not may_hold(json.dumps({"event": "plugin.ready", "plugin": "a/b", "generation": 2}))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("no key: password='abc'", "no key: password='***'"),
        ("postgres://app:hunter2@db:5432/x", "postgres://app:***@db:5432/x"),
        ("https://me:p@ss@host/path?x=1", "https://me:***@host/path?x=1"),
        ("redis://u:p+/w@h/0?m=a@b", "redis://u:***@h/0?m=a@b"),
        ("GET https://h/?a=1&api_key=abc&b=2", "GET https://h/?a=1&api_key=***&b=2"),
        ("login failed: password=hunter2 user=bob", "login failed: password=*** user=bob"),
        ("password: hunter2, user: bob", "password: ***, user: bob"),
        ("bad {'token': 'abc', 'n': 1}", "bad {'token': '***', 'n': 1}"),
        ('bad {"credentials": {"user": "bob"}}', 'bad {"credentials": ***}'),
        ("Settings(api_key='abc', n=1)", "Settings(api_key='***', n=1)"),
        ("Authorization: Bearer abc", "Authorization: ***"),
        ("Cookie: sid=1; other=2\nHost: x", "Cookie: ***\nHost: x"),
        ("sent Bearer abc123def", "sent Bearer ***"),
        ("key sk-proj-0123456789abcdef is bad", "key *** is bad"),
        ("a: b: secret=x", "a: b: secret=***"),
        ('f(password="secret")', 'f(password="***")'),
        ('{"auth": {"a": {"b": "x"}}, "n": 1}', '{"auth": ***, "n": 1}'),
        (
            "1 error for C\na.password\n  Bad [type=x, input_value='abc', input_type=str]",
            "1 error for C\na.password\n  Bad [type=x, input_value='***', input_type=str]",
        ),
        ("run --db-password hunter --api-key=x -v", "run --db-password *** --api-key=*** -v"),
        ("['run', '--token', 'abc', '-v']", "['run', '--token', '***', '-v']"),
        (
            "-----BEGIN PRIVATE KEY-----\nMIIB\n-----END PRIVATE KEY-----",
            "-----BEGIN PRIVATE KEY-----***\n***\n***-----END PRIVATE KEY-----",
        ),
    ],
)
def test_a_message_is_masked(text: str, shown: str) -> None:
    assert masked_text(text) == shown


@pytest.mark.parametrize(
    "text",
    [
        "KeyError: 'token'",
        "PasswordError: wrong password for bob",
        "password: too short",
        "unexpected token: got ')'",
        "token = None, max_tokens=4096",
        "self.token = token",
        "f(token=token)",
        "token = get_token(user)",
        'password = config["password"]',
        "basic authentication is off, bearer tokens are on",
        "see https://example.com/a:b@c and http://localhost:4873/@scope/name",
        "no secrets here",
        "pass=3 fail=2",
        "1 error for C\na.size\n  Bad [type=x, input_value='abc', input_type=str]",
    ],
)
def test_a_message_that_only_speaks_of_secrets_stays(text: str) -> None:
    assert masked_text(text) == text


def lines(text: str, path: str) -> str:
    return "\n".join(masked_lines(dedent(text).splitlines(), path))


def test_lines_of_code_lose_their_literals_and_nothing_else() -> None:
    code = '''
    PASSWORD = "hunter2"
    token: str = f"abc{x}"
    password = config["password"]
    connect(user="bob", password='pw', retries=3)
    os.environ["API_KEY"] = "abc"
    SECRETS = ["one",
        "two"]
    def f(token: str, secret=None): ...
    KEYS = {"api_key": b"abc", "n": 1}
    raise ValueError("bad password=abc1")
    HEADERS = {"Authorization": "Bearer " + TOKEN, "X": "y"}
    private_key = """one
    two"""
    end = 1
    '''
    assert lines(code, "plugin.py") == dedent('''
    PASSWORD = "***"
    token: str = "***"
    password = config["password"]
    connect(user="bob", password='***', retries=3)
    os.environ["API_KEY"] = "***"
    SECRETS = ***
    ***
    def f(token: str, secret=None): ...
    KEYS = {"api_key": "***", "n": 1}
    raise ValueError("bad password=***")
    HEADERS = {"Authorization": "***" + TOKEN, "X": "y"}
    private_key = """***"""
    ***
    end = 1
    ''').rstrip("\n")


def test_lines_of_a_manifest_lose_auth_and_env_and_values_of_telling_keys() -> None:
    manifest = '''
    [plugin]
    name = "x"
    auth = { token = "abc" }
    endpoint = "https://me:pw@host/mcp"
    priority = 5
    [plugin.env]
    MODE = "fast"
    "OTHER" = """a
    b"""
    [plugin.mcp_http]
    auth_secret_env = "ACME"
    [plugin.metadata.credentials]
    user = 'bob'
    pin = 1234
    [plugin.metadata]
    max_tokens = 10
    password = 1234 # always
    list = [{ api_key = "x", n = 1 }]
    '''
    assert lines(manifest, "/a/dagstack.toml") == dedent("""
    [plugin]
    name = "x"
    auth = ***
    endpoint = "https://me:***@host/mcp"
    priority = 5
    [plugin.env]
    MODE = ***
    "OTHER" = ***
    ***
    [plugin.mcp_http]
    auth_secret_env = "ACME"
    [plugin.metadata.credentials]
    user = ***
    pin = ***
    [plugin.metadata]
    max_tokens = 10
    password = *** # always
    list = [{ api_key = "***", n = 1 }]
    """).rstrip("\n")


def test_lines_of_json_lose_them_too_also_where_it_is_broken() -> None:
    text = """
    {"name": "x", "env": {
      "MODE": "fast",
      "N": "2"
    }, "token": "abc", "n": 1
    "password":
      "abc
    "env-auth": {"x": {"y": "z"}}
    """
    assert lines(text, "/a/dagstack.json") == dedent("""
    {"name": "x", "env": ***
    ***
    ***
    ***, "token": "***", "n": 1
    "password":
      "***"
    "env-auth": ***
    """).rstrip("\n")


def test_known_values_are_masked_wherever_they_occur_as_whole_words() -> None:
    remember(["hunter2", "postgres", "abc1", "one-1+2", "one-1+2-3", "!?-!?-!?"])
    remember_environment({"PLAIN": "k9f8-3jd7-x2", "HOME": "/home/someone/9"})
    remember_environment({"DB_PASSWORD": "p w d1", "HOST": "service-1.internal"})
    assert masked_text("one-1+2-3, one-1+2 one-1 (!?-!?-!?)") == "***, *** one-1 (***)"
    text = "hunter2 hunter22 postgres abc1 k9f8-3jd7-x2 /home/someone/9 p w d1 service-1.internal"
    shown = "*** hunter22 postgres abc1 *** /home/someone/9 *** service-1.internal"
    assert masked_text(text) == shown


def test_secrets_of_a_configuration_are_found_at_any_depth() -> None:
    config: dict[str, Any] = {"a": {"token": "t", "x": [{"password": ["p", {"q": "r"}]}]}, "n": 1}
    config["self"] = config
    assert list(secrets_in(config))[:3] == ["t", "p", "r"]


@pytest.mark.parametrize(
    "text",
    [
        "key" * 60_000, "key: " * 20_000, "x-" * 60_000 + "key=1", "[" + " " * 60_000, "[" * 60_000,
        "token:" * 20_000, "token=" * 20_000, "token={" * 20_000, "token=[" * 20_000,
    ],
)  # fmt: skip
def test_long_texts_take_linear_time(text: str) -> None:
    assert masked_text(text)
    assert lines(text, "a.py")
    assert lines(text, "a.toml")
