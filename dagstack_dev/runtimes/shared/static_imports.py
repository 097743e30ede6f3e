"""What a file imports, as far as its text says."""

from __future__ import annotations

import ast
from enum import Enum, auto
from importlib.util import resolve_name
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_BLOCKS: Final = ("body", "handlers", "orelse", "finalbody", "cases")
"""Where a statement keeps the statements in it."""

_IMPORTS: Final = (ast.Import, ast.ImportFrom)


class When(Enum):
    """When an import happens."""

    ALWAYS = auto()  # Whenever the module is imported.
    LATE = auto()  # In a call of the function that it stands in.
    MAYBE = auto()  # That depends: it stands below an `if`, in a `try` and the like.


class ImportStatement(NamedTuple):
    """One name in an import statement.

    Attributes:
        module: the module, absolute; empty for one that is outside of everything.
        name: what is imported from it; None for `import module`.
        dots: of a relative import.
        line: counted from 1.
        column: counted from 1, in bytes.
        when: it happens.
    """

    module: str
    name: str | None
    dots: int
    line: int
    column: int
    when: When


class StaticImport(NamedTuple):
    """One module that a file names in an import, and the line where it does.

    `from x import y` names `x` and `x.y`, for `y` may be a module; the caller knows which are.
    """

    module: str
    line: int


def static_imports(text: bytes, module: str, *, is_package: bool) -> list[StaticImport]:
    """Return every module that imports in `text` name, as the code of `module`."""
    return modules_named(import_statements(text, module, is_package=is_package))


def modules_named(statements: Iterable[ImportStatement]) -> list[StaticImport]:
    """Return every module that `statements` name, the packages around it included."""
    return [
        StaticImport(part, each.line)
        for each in statements
        if each.module
        for part in with_parents(each.module if each.name is None else f"{each.module}.{each.name}")
    ]


def import_statements(text: bytes, module: str, *, is_package: bool) -> list[ImportStatement]:
    """Return every import in `text`, inside functions too, as the code of `module`.

    Left out is what stands below `if TYPE_CHECKING:`, and what only running shows, except for
    calls of `import_module` with a name that is written there. Text that is not Python has none.
    """
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return []
    package = module if is_package else module.rpartition(".")[0]
    return list(_statements(tree, package, has_calls=b"import_module" in text))


def with_parents(module: str) -> Iterator[str]:
    """Yield `module` and the packages around it, innermost first: what importing it runs."""
    end = len(module)
    while end > 0:
        yield module[:end]
        end = module.rfind(".", 0, end)


def _statements(tree: ast.AST, package: str, *, has_calls: bool) -> Iterator[ImportStatement]:
    todo: list[tuple[ast.AST, When]] = [(tree, When.ALWAYS)]
    while todo:
        node, when = todo.pop()
        inside = when
        match node:
            case ast.Import():
                for each in node.names:
                    yield ImportStatement(
                        each.name, None, 0, each.lineno, each.col_offset + 1, when
                    )
                continue
            case ast.ImportFrom(level=dots):
                origin = _absolute("." * dots + (node.module or ""), package)
                for each in node.names:
                    yield ImportStatement(
                        origin, each.name, dots, each.lineno, each.col_offset + 1, when
                    )
                continue
            case ast.Call(
                func=ast.Name("import_module") | ast.Attribute(attr="import_module"),
                args=[ast.Constant(str(name)), *_],
            ):
                origin, column = _absolute(name, package), node.col_offset + 1
                yield ImportStatement(origin, None, 0, node.lineno, column, When.MAYBE)
            case ast.Module() | ast.ClassDef():
                pass
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                inside = When.LATE if when is When.ALWAYS else when
            case _:
                inside = When.MAYBE
        below = _below(node, has_calls=has_calls)
        if inside is When.LATE and any(isinstance(each, _IMPORTS) for each in below):
            # What stands below `if not HAS_NUMPY: return` is not meant to happen always.
            guards = (at for at, each in enumerate(below) if _may_leave(each))
            first = next(guards, len(below))
            todo += [(each, When.MAYBE) for each in reversed(below[first:])]
            del below[first:]
        todo += [(each, inside) for each in reversed(below)]


def _may_leave(statement: ast.AST) -> bool:
    """Return whether the function may end in it, so that what follows does not run."""
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return False
    return any(
        isinstance(each, ast.Return | ast.Raise | ast.Assert) for each in ast.walk(statement)
    )


def _below(node: ast.AST, *, has_calls: bool) -> list[ast.AST]:
    """Return what in `node` may hold imports; only where there are calls of it, an expression."""
    match node:
        case ast.If(test=ast.Name("TYPE_CHECKING") | ast.Attribute(attr="TYPE_CHECKING")):
            return [*node.orelse]
        case ast.If(
            test=ast.UnaryOp(
                ast.Not(), ast.Name("TYPE_CHECKING") | ast.Attribute(attr="TYPE_CHECKING")
            )
        ):
            return [*node.body]
        case _ if has_calls:
            return [*ast.iter_child_nodes(node)]
        case _:
            return [each for block in _BLOCKS for each in getattr(node, block, ())]


def _absolute(name: str, package: str) -> str:
    """Return the module that `name` means inside `package`; empty outside of everything."""
    try:
        return resolve_name(name, package)
    except ImportError:
        return ""
