"""Which failures are worth another try."""

from __future__ import annotations

import socket
import urllib.request
from collections.abc import Callable

import httpx
import pytest

from dagstack_dev.core.errors import PluginCrashed, PluginLoadError
from dagstack_dev.core.health_errors import HealthCheckInvalid, PluginUnhealthy
from dagstack_dev.core.passing import RetryPreempted, SetupPreempted, may_pass
from dagstack_dev.core.refs import PluginRef

REF = PluginRef("demo", "it")


class Down(Exception):
    is_passing = True


class Odd(Exception):
    is_passing = "perhaps"


def caused_by(error: BaseException, cause: BaseException) -> BaseException:
    error.__cause__ = cause
    return error


def with_context(error: BaseException, handled: BaseException) -> BaseException:
    error.__context__ = handled
    return error


def circle() -> BaseException:
    return caused_by(first := ValueError(), caused_by(KeyError(), first))


PASSING = {
    "says so": Down(),
    "refused": ConnectionRefusedError(),
    "reset": ConnectionResetError(),
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
    "a missing file": FileNotFoundError(),
    "a mistake in the manifest": HealthCheckInvalid(REF, "ping", "no"),
    "a crash": caused_by(PluginCrashed(REF, "it ended"), ValueError()),
    "something odd": Odd(),
    "a circle": circle(),
    "nothing": None,
}


@pytest.mark.parametrize("error", PASSING.values(), ids=PASSING.keys())
def test_it_may_pass(error: BaseException) -> None:
    assert may_pass(error)


@pytest.mark.parametrize("error", STAYING.values(), ids=STAYING.keys())
def test_it_takes_an_edit(error: BaseException | None) -> None:
    assert not may_pass(error)


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
    assert may_pass(caught.value)
