"""Which failures are worth another try."""

from __future__ import annotations

import pytest

from dagstack_dev.core.errors import PluginCrashed, PluginLoadError
from dagstack_dev.core.health_errors import HealthCheckInvalid, PluginUnhealthy
from dagstack_dev.core.passing import SetupPutOff, may_pass
from dagstack_dev.core.refs import PluginRef

REF = PluginRef("demo", "it")


class Down(Exception):
    is_passing = True


class Odd(Exception):
    is_passing = "perhaps"


def caused_by(error: BaseException, cause: BaseException) -> BaseException:
    error.__cause__ = cause
    return error


def circle() -> BaseException:
    return caused_by(first := ValueError(), caused_by(KeyError(), first))


PASSING = {
    "says so": Down(),
    "refused": ConnectionRefusedError(),
    "reset": ConnectionResetError(),
    "unhealthy": PluginUnhealthy(REF, "no"),
    "put off": SetupPutOff(REF),
    "an import that was refused": caused_by(
        PluginLoadError(REF, "import", "no"), ConnectionRefusedError()
    ),
    "a crash by it": caused_by(PluginCrashed(REF, "it ended"), Down()),
    "a group with it": ExceptionGroup("tasks", [ValueError(), ExceptionGroup("inner", [Down()])]),
}
STAYING = {
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


def test_what_was_only_being_handled_does_not_count() -> None:
    error = RuntimeError("cannot start")
    error.__context__ = Down()
    assert not may_pass(error)
