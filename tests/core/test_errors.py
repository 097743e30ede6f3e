"""Each error says what is wrong, where, and what to do about it."""

from __future__ import annotations

import traceback
from typing import Any

import pytest

from dagstack_dev.core.errors.base import PluginRegistryError
from dagstack_dev.core.errors.calls import PluginNotSetUp, PluginUnavailable
from dagstack_dev.core.errors.files import ManifestInvalid, ManifestProblem
from dagstack_dev.core.errors.life import (
    InvalidTransition,
    PluginCancelled,
    PluginCrashed,
    PluginLoadError,
    SetupTimeout,
    TeardownErrors,
    TeardownTimeout,
)
from dagstack_dev.core.errors.registry import (
    AmbiguousPlugin,
    DependencyCycle,
    DependencyMissing,
    KindUnknown,
    RuntimeNotSupported,
    VersionIncompatible,
)
from dagstack_dev.core.refs import PluginRef

A, B = PluginRef("tool", "a"), PluginRef("tool", "b")
KNOWN = [PluginRef("llm", "openai"), PluginRef("llm", "local"), PluginRef("tool", "search")]

MESSAGES = [
    (
        AmbiguousPlugin.duplicate(A, ("x/dagstack.toml", "y/dagstack.toml")),
        (
            "tool/a is declared twice, in x/dagstack.toml and y/dagstack.toml; give one of them "
            "another name or kind"
        ),
    ),
    (
        AmbiguousPlugin.dependency(A, "x", [PluginRef("k1", "x"), PluginRef("k2", "x")]),
        (
            "tool/a: depends_on 'x' may be k1/x, k2/x; write "
            '{ kind = "k1", name = "x" } or { kind = "k2", name = "x" } in depends_on'
        ),
    ),
    (
        AmbiguousPlugin.lookup("tool", [A, B]),
        (
            "2 plugins of kind 'tool' have the highest priority: tool/a, tool/b; pass name= or "
            "give one of them a higher priority"
        ),
    ),
    (
        VersionIncompatible(A, ">=2", "0.1.0", "x/dagstack.toml"),
        (
            "tool/a needs core_version >=2, this core is 0.1.0; write for example core_version = "
            '">=0.1,<1", or use another core (x/dagstack.toml)'
        ),
    ),
    (
        KindUnknown("lm", known=KNOWN),
        "no plugin of kind 'lm' is registered; did you mean 'llm'? (kinds: llm, tool)",
    ),
    (
        KindUnknown("llm", "opanai", known=KNOWN),
        "kind 'llm' has no plugin named 'opanai'; did you mean 'openai'? (names: local, openai)",
    ),
    (KindUnknown("llm", "x"), "no plugin of kind 'llm' is registered (kinds: none)"),
    (
        RuntimeNotSupported(A, ["in-process"], ["in_process"], "x/dagstack.toml"),
        (
            "tool/a runs in in-process, which is not available here; did you mean 'in_process'? "
            "(available: in_process) (x/dagstack.toml)"
        ),
    ),
    (
        DependencyCycle([A, B]),
        "dependency cycle: tool/a -> tool/b -> tool/a; remove one of these from depends_on",
    ),
    (DependencyCycle([A]), "tool/a depends on itself; remove it from depends_on"),
    (
        DependencyMissing(A, ["serch", "zzz"], known=["search"]),
        (
            "tool/a depends on 'serch' (did you mean 'search'?), 'zzz', which does not exist; add "
            "it or change depends_on"
        ),
    ),
    (
        PluginLoadError(A, "import", "ImportError: no module named x", path="x/p.py", line=3),
        "tool/a: import failed: ImportError: no module named x (x/p.py:3)",
    ),
    (
        PluginLoadError(A, "construct", "TypeError: no"),
        "tool/a: construct failed: TypeError: no",
    ),
    (
        PluginCrashed(A, "LookupError: gone"),
        "tool/a was ended by a task of its own: LookupError: gone",
    ),
    (
        PluginCancelled(A, "setup"),
        (
            "tool/a: setup ended with a cancellation of its own; a task that it awaits was "
            "cancelled, or a task group that it opened has failed"
        ),
    ),
    (PluginUnavailable(A, "it failed; mend it"), "tool/a is unavailable: it failed; mend it"),
    (
        PluginNotSetUp(A, B, path="/p/dagstack.toml", line=7),
        "tool/a is not set up yet; add it to depends_on in /p/dagstack.toml:7",
    ),
    (PluginNotSetUp(A, B), "tool/a is not set up yet; add it to depends_on of tool/b"),
    (
        PluginNotSetUp(A, B, is_downstream=True),
        "tool/a is not set up yet, for it depends on tool/b; call it after that is set up",
    ),
    (
        SetupTimeout(A, 30),
        "tool/a: setup did not end within 30 s; make it faster or raise startup_timeout_sec",
    ),
    (
        TeardownTimeout(A, 0.5),
        "tool/a: teardown did not end within 0.5 s; make it faster or raise teardown_timeout_sec",
    ),
    (
        TeardownErrors([(A, ValueError("no")), (B, KeyError("x"))]),
        "teardown failed in 2 plugins\n  tool/a: ValueError: no\n  tool/b: KeyError: 'x'",
    ),
    (
        TeardownErrors([(A, ValueError("no"))]),
        "teardown failed in 1 plugin\n  tool/a: ValueError: no",
    ),
    (
        ManifestInvalid("x/dagstack.toml", [ManifestProblem("name", "missing", 2)]),
        "x/dagstack.toml:2: name: missing",
    ),
    (
        ManifestInvalid(
            "x/dagstack.toml",
            [ManifestProblem("name", "missing", 2), ManifestProblem("", "odd")],
        ),
        "x/dagstack.toml: 2 problems in the manifest\n  line 2: name: missing\n  odd",
    ),
    (InvalidTransition(A, "ready", "loaded"), "tool/a cannot go from ready to loaded"),
]


@pytest.mark.parametrize(
    ("error", "message"), MESSAGES, ids=[type(error).__name__ for error, _ in MESSAGES]
)
def test_the_message_says_what_where_and_what_to_do(
    error: PluginRegistryError, message: str
) -> None:
    assert str(error) == message


def test_every_error_of_the_specification_has_the_common_base() -> None:
    for error, _ in MESSAGES:
        assert isinstance(error, PluginRegistryError)
    assert isinstance(SetupTimeout(A, 1), TimeoutError)
    assert isinstance(TeardownTimeout(A, 1), TimeoutError)


def test_errors_carry_their_facts() -> None:
    duplicate = AmbiguousPlugin.duplicate(A, ("x", "y"))
    assert (duplicate.ref, duplicate.candidates, duplicate.paths) == (A, (A,), ("x", "y"))
    assert duplicate.path == "y"
    failures = [(A, ValueError("no")), (B, KeyError("x"))]
    assert TeardownErrors(failures).errors == [error for _, error in failures]
    assert TeardownErrors(failures).failures == tuple(failures)
    manifest = ManifestInvalid("x", [ManifestProblem("", "odd"), ManifestProblem("a", "b", 7)])
    assert manifest.line == 7
    assert DependencyCycle([A, B]).cycle == (A, B)
    version = VersionIncompatible(A, ">=2", "0.1", None)
    assert (version.required, version.core_version, version.path) == (">=2", "0.1", None)


@pytest.mark.parametrize(
    ("kind", "name", "suggestion"),
    [("lm", None, "llm"), ("llm", "opanai", "openai"), ("tol", "serch", "tool"), ("q", None, None)],
)
def test_an_unknown_kind_or_name_is_answered_with_the_closest(
    kind: str, name: str | None, suggestion: str | None
) -> None:
    assert KindUnknown(kind, name, known=KNOWN).suggestion == suggestion


def test_further_errors_ride_along_as_facts_and_in_the_traceback() -> None:
    others = [DependencyMissing(B, ["x"]), VersionIncompatible(A, ">=2", "0.1", None)]
    error = DependencyCycle([A, B]).with_others(others)
    assert error.others == tuple(others)
    shown = "".join(traceback.format_exception(error))
    for other in others:
        assert f"also: {other}" in shown


def test_an_error_alone_has_no_others() -> None:
    assert DependencyCycle([A]).others == ()


EVALUATED = """
from collections.abc import Sequence
from typing import ClassVar
from dagstack_dev.core.errors.base import PluginRegistryError

class QuotaExceeded(PluginRegistryError):
    is_transient: ClassVar[bool] = True
    used: int
    names: Sequence[str]
    limit: int = 3
    template = "{used} of {limit}"
"""


def test_annotations_may_be_types_as_in_a_module_that_does_not_put_them_off() -> None:
    names: dict[str, Any] = {"__name__": __name__}
    exec(compile(EVALUATED, "quota.py", "exec", dont_inherit=True), names)
    error = names["QuotaExceeded"](5, ["a"])
    assert (error.used, error.names, error.limit, error.is_transient) == (5, ("a",), 3, True)


@pytest.mark.parametrize(
    ("args", "facts"),
    [
        ((A,), {}),
        ((A, "gone", "for good"), {}),
        ((A, "gone"), {"reason": "away"}),
        ((A, "gone"), {"since": 3}),
    ],
    ids=["missing", "too many", "twice", "unknown"],
)
def test_facts_that_do_not_fit_are_refused_as_arguments_are(
    args: tuple[Any, ...], facts: dict[str, Any]
) -> None:
    with pytest.raises(TypeError, match="PluginUnavailable takes ref, reason, each once; it needs"):
        PluginUnavailable(*args, **facts)


def test_a_subclass_with_an_init_of_its_own_sees_to_what_it_annotates() -> None:
    class QuotaExceeded(PluginRegistryError):
        used: int
        limit: int

        def __init__(self, message: str, used: int, limit: int) -> None:
            super().__init__(message)
            self.used = used
            self.limit = limit

    error = QuotaExceeded("too much", 5, 3)
    assert (str(error), error.used, error.limit) == ("too much", 5, 3)
