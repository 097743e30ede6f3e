"""What a manifest says of a plugin that is an MCP server: how it is started, or reached.

The same thing may stand in a field of `[plugin]` or in the runtime's own table (contract, section
2: `command` or `[plugin.mcp_stdio]`, `endpoint`, `url` or `[plugin.mcp_http]`). Where both speak,
they have to say the same.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Final
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
)

from dagstack_dev.core.refs import did_you_mean
from dagstack_dev.core.secrets import MASK, SECRET_TABLES, masked

CALL_SECONDS: Final = 60
"""How long one call may take where the manifest does not say."""

_HEADER: Final = r"^[!#$%&'*+.^_`|~0-9A-Za-z-]+$"
SENDABLE: Final = re.compile(r"[\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?")
"""What can stand in an HTTP header."""

_FIELDS: Final = ("command", "env", "endpoint", "url", "auth", "mcp_stdio", "mcp_http")
_PLACES: Final = (
    ("command", "mcp_stdio.command"),
    ("env", "mcp_stdio.env"),
    ("startup_timeout_sec", "mcp_stdio.startup_timeout_sec"),
    ("endpoint", "url", "mcp_http.url"),
)
"""Where the same thing may stand."""

_AUTH_KEYS: Final = ("token",)
_NO_COMMAND: Final = 'missing; add command = ["python", "server.py"]'
_NO_URL: Final = 'missing; add endpoint = "http://localhost:8000/mcp"'


def _command(value: object) -> object:
    return tuple(shlex.split(value)) if isinstance(value, str) else value


def _said(command: tuple[str, ...]) -> tuple[str, ...]:
    if command and not command[0]:
        raise ValueError("the program's name is empty")
    if any("\0" in part for part in command):
        raise ValueError("must not hold a NUL character")
    return command


def _http_url(url: str) -> str:
    try:
        parts = urlsplit(url)
        is_sound = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:  # A port or an address that is none.
        is_sound = False
    if not is_sound or SENDABLE.fullmatch(url) is None or " " in url:
        # Not quoted: it may hold a password.
        raise ValueError('is no URL; write for example "http://localhost:8000/mcp"')
    return url


def _auth(auth: dict[str, str]) -> dict[str, str]:
    for key in auth:
        if key not in _AUTH_KEYS:
            raise ValueError(f"unknown key {key!r}{did_you_mean(key, _AUTH_KEYS)}")
    if SENDABLE.fullmatch(auth.get("token", "x")) is None:
        raise ValueError("token: is empty, or cannot stand in an HTTP header")
    return auth


def _env(env: dict[str, str]) -> dict[str, str]:
    for name, value in env.items():
        if not name or "=" in name or "\0" in name + value:
            raise ValueError(f"{name!r} cannot be set in an environment")
    return env


Command = Annotated[
    tuple[str, ...], Field(strict=False), BeforeValidator(_command), AfterValidator(_said)
]
Environment = Annotated[dict[str, str], AfterValidator(_env)]
HttpUrl = Annotated[str, AfterValidator(_http_url)]
Auth = Annotated[dict[str, str], AfterValidator(_auth)]
_Seconds = Annotated[int, Field(gt=0)]


class Table(BaseModel):
    """A table of a manifest, which keeps its secrets to itself when it is shown."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    def __repr_args__(self) -> Iterator[tuple[str | None, Any]]:
        """Yield what `repr()` and `str()` show."""
        for name, value in super().__repr_args__():
            yield name, MASK if name in SECRET_TABLES and value else masked(value)


class McpStdio(Table):
    """`[plugin.mcp_stdio]`: how the plugin's process is started.

    `timeout_sec` is the limit of one call.
    """

    command: Command = ()
    working_dir: str | None = None
    env: Environment = Field(default_factory=dict)
    startup_timeout_sec: _Seconds | None = None
    timeout_sec: _Seconds | None = None


class McpHttp(Table):
    """`[plugin.mcp_http]`: how the plugin's server is reached.

    `auth_header` is the header that carries the secret, `auth_secret_env` the environment
    variable that holds it. `timeout_sec` is the limit of one call.
    """

    url: HttpUrl | None = None
    auth_header: Annotated[str, StringConstraints(pattern=_HEADER)] | None = None
    auth_secret_env: Annotated[str, StringConstraints(min_length=1)] | None = None
    timeout_sec: _Seconds | None = None
    tls_ca_bundle: str | None = None
    tls_verify: bool = True


def startup_timeout(fields: Mapping[str, object]) -> dict[str, object]:
    """Return the field that says how long a setup may take, as `[plugin.mcp_stdio]` may say it."""
    seconds = _table(fields, "mcp_stdio").get("startup_timeout_sec")
    return {} if seconds is None else {"startup_timeout_sec": seconds}


def mcp_contradictions(fields: Mapping[str, object]) -> dict[str, str]:
    """Return what is wrong between the fields, by the (dotted) field to fix; each may be wrong."""
    runtime = fields.get("runtime")
    declared = runtime if isinstance(runtime, list | tuple) else (runtime,)
    if not ("mcp_stdio" in declared or "mcp_http" in declared or any(map(fields.get, _FIELDS))):
        return {}  # As for nearly all of many thousand plugins.
    return {**_missing(fields, declared), **_differences(fields), **_misplaced(fields, declared)}


def _differences(fields: Mapping[str, object]) -> dict[str, str]:
    found: dict[str, str] = {}
    for places in _PLACES:
        given = {place: value for place in places if (value := _said_at(fields, place))}
        for place, value in given.items():
            first = next(iter(given))
            if value != given[first]:
                found[place] = f"differs from {first}; keep one of them"
    return found


def _missing(
    fields: Mapping[str, object], declared: tuple[object, ...] | list[object]
) -> dict[str, str]:
    commands = ("command", "mcp_stdio.command")
    has_command = any(_said_at(fields, place) for place in commands)
    can_fall_back = "in_process" not in declared and _words(fields.get("entry_point"))
    if "mcp_stdio" in declared and not (has_command or can_fall_back):
        return {"command": _NO_COMMAND}
    has_url = any(_said_at(fields, place) for place in _PLACES[-1])
    return {"endpoint": _NO_URL} if "mcp_http" in declared and not has_url else {}


def _misplaced(
    fields: Mapping[str, object], declared: tuple[object, ...] | list[object]
) -> dict[str, str]:
    found: dict[str, str] = {}
    if "mcp_http" not in declared:
        reason = 'is for runtime = "mcp_http"; remove it or change runtime'
        found |= {key: reason for key in ("endpoint", "url") if fields.get(key)}
    table, auth = _table(fields, "mcp_http"), fields.get("auth")
    has_token = isinstance(auth, Mapping) and bool(auth.get("token"))
    if has_token and table.get("auth_secret_env"):
        found["auth"] = "mcp_http.auth_secret_env names a secret as well; keep one of them"
    if table.get("auth_header") and not (has_token or table.get("auth_secret_env")):
        found["mcp_http.auth_header"] = "has nothing to carry; add auth_secret_env"
    return found


def _said_at(fields: Mapping[str, object], place: str) -> object:
    """Return what stands at `place`, dotted where that is in a table; a command as its words."""
    table, _, key = place.rpartition(".")
    value = (_table(fields, table) if table else fields).get(key)
    return _words(value) if key == "command" else value


def _table(fields: Mapping[str, object], key: str) -> Mapping[str, object]:
    table = fields.get(key)
    if isinstance(table, BaseModel):
        return vars(table)
    return table if isinstance(table, Mapping) else {}


def _words(command: object) -> tuple[object, ...]:
    """Return a command that may not have been validated; nothing where it makes no sense."""
    try:
        words = _command(command)
    except ValueError:
        words = None
    return tuple(words) if isinstance(words, list | tuple) else ()
