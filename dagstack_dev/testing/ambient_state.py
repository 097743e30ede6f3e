"""No ambient state: nothing mutable lives in a plugin's modules (contract, section 12; ADR-3)."""

from __future__ import annotations

import ast
import inspect
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from dagstack_dev.static.findings import Severity

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

_MUTABLE_CALLS: Final = frozenset(
    {
        "bytearray",
        "Counter",
        "defaultdict",
        "deque",
        "dict",
        "list",
        "OrderedDict",
        "set",
    }
)
_LITERALS: Final = (ast.List, ast.Dict, ast.Set, ast.ListComp, ast.DictComp, ast.SetComp)


class AmbientStateError(Exception):
    """A module keeps mutable state of its own."""


@dataclass(frozen=True, slots=True)
class AmbientStateViolation:
    """One name of a module that is bound to something mutable.

    `line` counts from 1. `kind` is `mutable_literal` or `mutable_call`. Constants by name are
    only warned of.
    """

    name: str
    line: int
    kind: str
    severity: Severity
    message: str


@dataclass(frozen=True, slots=True)
class AmbientStateReport:
    """Everything of that sort in one module, in the order of its lines."""

    violations: tuple[AmbientStateViolation, ...] = ()

    @property
    def errors(self) -> list[AmbientStateViolation]:
        """What has to be fixed."""
        return [each for each in self.violations if each.severity is Severity.ERROR]

    @property
    def warnings(self) -> list[AmbientStateViolation]:
        """What is fine as long as nothing changes it."""
        return [each for each in self.violations if each.severity is Severity.WARNING]

    @property
    def has_errors(self) -> bool:
        """Whether anything has to be fixed."""
        return bool(self.errors)

    def format_report(self) -> str:
        """Return a line for each."""
        if not self.violations:
            return "no mutable state in the module"
        return "\n".join(
            f"{each.severity} line {each.line}: {each.name}: {each.message}"
            for each in self.violations
        )


def assert_no_ambient_state(module: ModuleType) -> AmbientStateReport:
    """Check, by its text, that `module` binds nothing mutable at its top level.

    Names in capitals are constants by convention and warnings only; dunders are left alone.

    Raises:
        AmbientStateError: it does, or its source cannot be read.
    """
    try:
        source = inspect.getsource(module)
    except (OSError, TypeError) as error:
        raise AmbientStateError(f"the source of {module!r} cannot be read: {error}") from error
    report = ambient_state(source)
    if report.has_errors:
        raise AmbientStateError(f"{module.__name__}:\n{report.format_report()}")
    return report


def ambient_state(source: str | bytes) -> AmbientStateReport:
    """Find what the text of a module binds at its top level and is mutable.

    Raises:
        SyntaxError: it is no Python.
    """
    found = (
        _violation(name, value)
        for statement in ast.parse(source).body
        for name, value in _bindings(statement)
    )
    return AmbientStateReport(tuple(each for each in found if each is not None))


def _bindings(statement: ast.stmt) -> Iterator[tuple[str, ast.expr]]:
    match statement:
        case ast.Assign(targets=targets, value=value):
            for target in targets:
                if isinstance(target, ast.Name):
                    yield target.id, value
        case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value):
            yield name, value
        case _:
            return


def _violation(name: str, value: ast.expr) -> AmbientStateViolation | None:
    kind = _kind(value)
    if kind is None or (name.startswith("__") and name.endswith("__")):
        return None
    if name.isupper():
        severity = Severity.WARNING
        message = "a constant by its name, but it can be changed; a tuple or a mapping proxy cannot"
    else:
        severity = Severity.ERROR
        message = "mutable state in a module is shared and lost with it; make it in setup"
    return AmbientStateViolation(name, value.lineno, kind, severity, message)


def _kind(value: ast.expr) -> str | None:
    if isinstance(value, _LITERALS):
        return "mutable_literal"
    if isinstance(value, ast.Call):
        function = value.func
        called = function.attr if isinstance(function, ast.Attribute) else None
        if isinstance(function, ast.Name):
            called = function.id
        if called in _MUTABLE_CALLS:
            return "mutable_call"
    return None
