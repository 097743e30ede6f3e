"""Compiling one file, and what its code tells before it is run."""

from __future__ import annotations

import ast
import dis
import linecache
import re
import symtable
from dataclasses import dataclass
from importlib.util import decode_source
from types import CodeType
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dagstack_dev.core.sources import SourceFile


@dataclass(frozen=True, slots=True)
class CodeFile:
    """One Python file: its absolute path, its bytes, and what they compile to.

    Exactly one of `code` and `error` is set. `outward` are the relative imports that leave the
    plugin, spelt as in its root package: `..other.plugin.NAME`.
    """

    path: str
    source: SourceFile
    code: CodeType | None = None
    error: Exception | None = None
    outward: tuple[str, ...] = ()

    def pin_lines(self) -> None:
        """Make tracebacks show this text for `path`, whatever the disk holds by now."""
        try:
            text = decode_source(self.source.content or b"")
        except (SyntaxError, UnicodeDecodeError):
            return
        lines = text.splitlines(keepends=True)
        linecache.cache[self.path] = (len(text), None, lines, self.path)

    def pin_lines_again(self) -> None:
        """As `pin_lines`, for a file of which some other text was pinned before.

        Until the first edit the disk holds what runs, and nothing needs pinning.
        """
        entry = linecache.cache.get(self.path)
        if entry is not None and (len(entry) == 1 or entry[1] is None):
            self.pin_lines()


def compile_file(path: str, source: SourceFile, *, depth: int = 0) -> CodeFile:
    """Compile the bytes of `source`; an error is part of the answer.

    `depth` is how many folders the file is below the plugin's own.
    """
    if source.content is None:
        return CodeFile(path, source, error=OSError(f"cannot be read: {source.error}"))
    try:
        code = compile(source.content, path, "exec", dont_inherit=True)
    except (SyntaxError, ValueError, RecursionError, MemoryError, OverflowError) as error:
        return CodeFile(path, source, error=error.with_traceback(None))
    return CodeFile(path, source, code=code, outward=_outward(source.content, code, depth))


def _outward(text: bytes, code: CodeType, depth: int) -> tuple[str, ...]:
    dots = depth + 2  # One stands for the file's own package, each further one for its parent.
    if re.search(rb"from[\s\\]*(?:\.[\s\\]*){%d}" % dots, text) is None:
        return ()  # Nearly every file, and disassembling is slow.
    found = []
    for each in all_code(code):
        steps = [step for step in dis.get_instructions(each) if step.opname != "EXTENDED_ARG"]
        for level, names, step in zip(steps, steps[1:], steps[2:], strict=False):
            if step.opname == "IMPORT_NAME" and level.argval >= dots:
                head = "." * (level.argval - depth) + (f"{step.argval}." if step.argval else "")
                found += [f"{head}{name}" for name in names.argval]
    return tuple(found)


def all_code(code: CodeType) -> Iterator[CodeType]:
    """`code` and everything that is nested in it."""
    todo = [code]
    while todo:
        each = todo.pop()
        yield each
        todo.extend(const for const in each.co_consts if isinstance(const, CodeType))


def mentioned_names(code: CodeType) -> set[str]:
    """Every identifier that `code` or code nested in it names, parts of dotted ones included."""
    return {
        part
        for each in all_code(code)
        for words in (each.co_names, _import_lists(each), _strings(each))
        for name in words
        for part in name.split(".")
    }


def _strings(code: CodeType) -> Iterator[str]:
    return (const for const in code.co_consts if isinstance(const, str))


def _import_lists(code: CodeType) -> Iterator[str]:
    for const in code.co_consts:
        if isinstance(const, tuple):
            yield from (item for item in const if isinstance(item, str))


_BINDING_WORDS: Final = frozenset(
    {"__getattr__", "globals", "vars", "locals", "setattr", "exec", "eval", "modules"}
)
"""Names by which a module can be given attributes that no statement of it binds."""


def may_bind(file: CodeFile, name: str) -> bool:
    """Whether executing `file` can bind `name` at module level.

    False is certain, as far as text can be: no statement binds it, there is no star import, no
    module-level `__getattr__`, and nothing reaches for `globals()` or the like.
    """
    code = file.code
    if code is None:
        return False
    if any(isinstance(const, CodeType) and const.co_name == name for const in code.co_consts):
        return True
    if not _BINDING_WORDS.isdisjoint(code.co_names):
        return True
    text = decode_source(file.source.content or b"")
    return _binds(symtable.symtable(text, file.path, "exec"), name) or _has_star_import(text)


def _binds(table: symtable.SymbolTable, name: str) -> bool:
    """Whether this scope, or a nested one after `global`, binds the module's `name`."""
    if name in table.get_identifiers():
        symbol = table.lookup(name)
        here = table.get_type() == "module" or symbol.is_declared_global()
        if here and (symbol.is_assigned() or symbol.is_imported()):
            return True
    return any(_binds(child, name) for child in table.get_children())


def _has_star_import(text: str) -> bool:
    return any(
        isinstance(node, ast.ImportFrom) and node.names[0].name == "*"
        for node in ast.walk(ast.parse(text))
    )


def top_names(file: CodeFile) -> list[str]:
    """The functions and classes that `file` defines at module level, for suggestions."""
    if file.code is None:
        return []
    return [const.co_name for const in file.code.co_consts if isinstance(const, CodeType)]
