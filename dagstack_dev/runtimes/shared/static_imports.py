"""What a file imports, as far as its text tells."""

from __future__ import annotations

import ast
from importlib.util import resolve_name
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator


class StaticImport(NamedTuple):
    """One module that a file names in an import, and the line where it does.

    `from x import y` names `x` and `x.y`, for `y` may be a module; the caller knows which are.
    """

    module: str
    line: int


def static_imports(text: bytes, module: str, *, is_package: bool) -> list[StaticImport]:
    """Return every import in `text`, inside functions too, as the code of `module`.

    Left out is what stands below `if TYPE_CHECKING:`, and what only running tells, except for
    calls of `import_module` with a name that is written there. Text that is not Python has none.
    """
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return []
    package = module if is_package else module.rpartition(".")[0]
    return [
        StaticImport(part, line)
        for name, line in _named(tree, package)
        for part in with_parents(name)
    ]


def with_parents(module: str) -> Iterator[str]:
    """`module` and the packages around it, innermost first; that is what importing it runs."""
    end = len(module)
    while end > 0:
        yield module[:end]
        end = module.rfind(".", 0, end)


def _named(tree: ast.AST, package: str) -> Iterator[tuple[str, int]]:
    todo: list[ast.AST] = [tree]
    while todo:
        node = todo.pop()
        match node:
            case ast.If(test=ast.Name("TYPE_CHECKING") | ast.Attribute(attr="TYPE_CHECKING")):
                todo += node.orelse
                continue
            case ast.If(
                test=ast.UnaryOp(
                    ast.Not(), ast.Name("TYPE_CHECKING") | ast.Attribute(attr="TYPE_CHECKING")
                )
            ):
                todo += node.body
                continue
            case ast.Import():
                yield from ((alias.name, node.lineno) for alias in node.names)
            case ast.ImportFrom():
                origin = _absolute("." * node.level + (node.module or ""), package)
                if origin:
                    yield origin, node.lineno
                    yield from ((f"{origin}.{each.name}", node.lineno) for each in node.names)
            case ast.Call(
                func=ast.Name("import_module") | ast.Attribute(attr="import_module"),
                args=[ast.Constant(str(name)), *_],
            ):
                yield _absolute(name, package), node.lineno
            case _:
                pass
        todo += ast.iter_child_nodes(node)


def _absolute(name: str, package: str) -> str:
    """Return the module that `name` means inside `package`; empty outside of everything."""
    try:
        return resolve_name(name, package) if package else name.lstrip(".")
    except ImportError:
        return ""
