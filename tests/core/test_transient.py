"""Which failures are worth another try."""

from __future__ import annotations

import asyncio
import errno
import socket
import sqlite3
import urllib.request
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from dagstack_dev.core.errors.life import (
    HealthCheckInvalid,
    PluginCrashed,
    PluginLoadError,
    PluginUnhealthy,
    RetryPreempted,
    SetupPreempted,
)
from dagstack_dev.core.refs import PluginRef
from dagstack_dev.core.transient import is_transient

REF = PluginRef("demo", "it")


class Down(Exception):
    is_transient = True


class Odd(Exception):
    is_transient = "perhaps"


def caused_by(error: BaseException, cause: BaseException) -> BaseException:
    error.__cause__ = cause
    return error


def with_context(error: BaseException, handled: BaseException) -> BaseException:
    error.__context__ = handled
    return error


def circle() -> BaseException:
    return caused_by(first := ValueError(), caused_by(KeyError(), first))


TRANSIENT = {
    "says so": Down(),
    "refused": ConnectionRefusedError(),
    "reset": ConnectionResetError(),
    "an address in use": OSError(errno.EADDRINUSE, "Address already in use"),
    "a lock that another holds": BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable"),
    "a busy device": OSError(errno.EBUSY, "Device or resource busy"),
    "no network": OSError(errno.ENETUNREACH, "Network is unreachable"),
    "the system's own timeout": OSError(errno.ETIMEDOUT, "Connection timed out"),
    "no such host": socket.gaierror(socket.EAI_NONAME, "Name or service not known"),
    "no resolver": socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution"),
    "unhealthy": PluginUnhealthy(REF, "no"),
    "preempted": RetryPreempted(REF),
    "an import that was refused": caused_by(
        PluginLoadError(REF, "import", "no"), ConnectionRefusedError()
    ),
    "a crash by it": caused_by(PluginCrashed(REF, "it ended"), Down()),
    "what came while one was handled": with_context(ValueError(), ConnectionRefusedError()),
    "a group with it": ExceptionGroup("tasks", [ValueError(), ExceptionGroup("inner", [Down()])]),
}
STAYING = {
    "an edit, which is there": SetupPreempted(REF),
    "a mistake": KeyError("token"),
    "no answer": TimeoutError(),
    "too many open files": OSError(errno.EMFILE, "Too many open files"),
    "a full disk": OSError(errno.ENOSPC, "No space left on device"),
    "no permission": PermissionError(errno.EACCES, "Permission denied"),
    "an error without a number": OSError("Multiple problems"),
    "a missing file": FileNotFoundError(),
    "a mistake in the manifest": HealthCheckInvalid(REF, "ping", "no"),
    "a crash": caused_by(PluginCrashed(REF, "it ended"), ValueError()),
    "something odd": Odd(),
    "a circle": circle(),
    "nothing": None,
}


@pytest.mark.parametrize("error", TRANSIENT.values(), ids=TRANSIENT.keys())
def test_it_is_transient(error: BaseException) -> None:
    assert is_transient(error)


@pytest.mark.parametrize("error", STAYING.values(), ids=STAYING.keys())
def test_it_takes_an_edit(error: BaseException | None) -> None:
    assert not is_transient(error)


class DownByItsOldName(Exception):
    is_passing = True


class Refused(RetryPreempted):
    is_passing = False


@pytest.mark.parametrize(("error", "may"), [(DownByItsOldName(), True), (Refused(REF), False)])
def test_the_old_name_works_for_one_release(error: BaseException, may: bool) -> None:
    with pytest.warns(DeprecationWarning, match=f"{type(error).__name__} says `is_passing`"):
        assert is_transient(error) is may


def test_the_errors_of_the_registry_are_asked_by_the_old_name_for_one_release() -> None:
    with pytest.warns(DeprecationWarning, match="is_passing is called is_transient now"):
        assert RetryPreempted(REF).is_passing
    with pytest.warns(DeprecationWarning, match="is_passing is called is_transient now"):
        assert not SetupPreempted.is_passing


async def refused_on_two_addresses() -> None:
    await asyncio.open_connection("localhost", 1, family=socket.AF_UNSPEC)


def test_what_asyncio_raises_when_no_address_of_a_host_answers() -> None:
    error = OSError(
        "Multiple exceptions: [Errno 111] Connect call failed ('::1', 1, 0, 0), "
        "[Errno 111] Connect call failed ('127.0.0.1', 1)"
    )
    assert is_transient(error)
    with pytest.raises(OSError, match="Connect call failed") as caught:
        asyncio.run(refused_on_two_addresses())
    assert is_transient(caught.value)


def test_an_address_that_another_listens_at() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        with pytest.raises(OSError, match="in use") as caught:
            socket.create_server(taken.getsockname())
        assert is_transient(caught.value)


@pytest.mark.parametrize(("statement", "may"), [("CREATE TABLE b(x)", True), ("FLY", False)])
def test_a_database_that_another_has_locked(tmp_path: Path, statement: str, may: bool) -> None:
    path = tmp_path / "x.db"
    with (
        closing(sqlite3.connect(path, isolation_level=None)) as other,
        closing(sqlite3.connect(path, timeout=0)) as own,
    ):
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(sqlite3.OperationalError) as caught:
            own.execute(statement)
        assert is_transient(caught.value) is may


def refused_by_urllib(url: str) -> None:
    urllib.request.urlopen(url, timeout=5)


def refused_by_httpx(url: str) -> None:
    httpx.get(url)


@pytest.mark.parametrize("ask", [refused_by_urllib, refused_by_httpx])
def test_libraries_for_http_hide_the_refusal_in_their_own_ways(ask: Callable[[str], None]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = server.getsockname()
    with pytest.raises(Exception) as caught:  # noqa: PT011 - each library has one of its own
        ask(f"http://{address[0]}:{address[1]}/")
    assert is_transient(caught.value)
