"""Compiling one file, and what its code says before it is run."""

from __future__ import annotations

import ast
import linecache
import marshal
import symtable
from dataclasses import dataclass
from difflib import SequenceMatcher
from importlib.util import decode_source
from types import CodeType
from typing import TYPE_CHECKING, Any, Final

from dagstack_dev.core.errors.base import in_words
from dagstack_dev.core.wording import listed
from dagstack_dev.runtimes.bytecode import compile_cached, compile_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from dagstack_dev.core.sources import PluginSource, SourceFile

_MOST_CLASSES: Final = 5
"""Classes that a message names."""


@dataclass(frozen=True, slots=True)
class CodeFile:
    """One Python file: its absolute path, its bytes, and what they compile to.

    Exactly one of `code` and `error` is set. A pickle of it is for the same interpreter, and holds
    what the error says.
    """

    path: str
    source: SourceFile
    code: CodeType | None = None
    error: Exception | None = None

    @property
    def problem(self) -> tuple[str, int | None]:
        """Return what is wrong with it and in which line, as the compiler says."""
        error = self.error
        said = getattr(error, "msg", None) or str(error) or "too complex for the compiler"
        return f"{type(error).__name__}: {said}", getattr(error, "lineno", None)

    def __reduce__(self) -> tuple[Any, ...]:
        """See the class."""
        code = None if self.code is None else marshal.dumps(self.code)
        error = None if self.error is None else in_words(self.error)
        return _restored, (self.path, self.source, code, error)

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


def _restored(path: str, source: SourceFile, code: bytes | None, error: str | None) -> CodeFile:
    if code is None:
        return CodeFile(path, source, error=ImportError(error))
    return CodeFile(path, source, code=marshal.loads(code))  # noqa: S302 - ours


def compile_file(path: str, source: SourceFile, *, cached: bool = False) -> CodeFile:
    """Compile the bytes of `source`; an error is part of the result.

    `cached` asks for bytecode kept on disk first, and keeps there what had to be compiled.
    """
    if source.content is None:
        return CodeFile(path, source, error=OSError(f"cannot be read: {source.error}"))
    try:
        code = (compile_cached if cached else compile_text)(path, source.content)
    except (SyntaxError, ValueError, RecursionError, MemoryError, OverflowError) as error:
        return CodeFile(path, source, error=error.with_traceback(None))
    return CodeFile(path, source, code=code)


def compile_all(source: PluginSource) -> dict[str, CodeFile]:
    """Return the compiled files of a plugin, by path relative to its folder."""
    return {
        relative: compile_file(f"{source.folder}/{relative}", file)
        for relative, file in source.files.items()
        if relative.endswith(".py")
    }


def named_files(files: Mapping[str, CodeFile]) -> set[str]:
    """Return those of `files` that some of them name as a module: they may be imported."""
    named = {name for file in files.values() if file.code for name in mentioned_names(file.code)}
    return {
        each
        for each in files
        if each.removesuffix(".py").removesuffix("/__init__").rpartition("/")[2] in named
    }


def all_code(code: CodeType) -> Iterator[CodeType]:
    """Yield `code` and everything that is nested in it."""
    todo = [code]
    while todo:
        each = todo.pop()
        yield each
        todo.extend(const for const in each.co_consts if isinstance(const, CodeType))


def mentioned_names(code: CodeType) -> set[str]:
    """Return every identifier in `code` and code nested in it, parts of dotted ones included."""
    return {part for each in all_code(code) for word in _words(each) for part in word.split(".")}


def _words(code: CodeType) -> Iterator[str]:
    """Yield names and strings, those in tuples included, as of an import."""
    yield from code.co_names
    for const in code.co_consts:
        words = const if isinstance(const, tuple) else (const,)
        yield from (word for word in words if isinstance(word, str))


_BINDING_WORDS: Final = frozenset(
    {
        "__getattr__",
        "globals",
        "vars",
        "locals",
        "setattr",
        "exec",
        "eval",
        "modules",
        "global_enum",
        "_convert_",  # What `global_enum` was before; `ssl` and `socket` use it.
    }
)
"""Names by which a module can be given attributes that no statement of it binds."""

_IN_FUNCTIONS: Final = frozenset({"globals", "modules"})
"""Those of them that mean the module in a function, too: the others are mostly about objects."""


_STAR_IMPORT: Final = ("*",)
"""What an import names, as it stands among the constants of its code."""


def may_bind(file: CodeFile, name: str) -> bool:
    """Return whether executing `file` can bind `name` at module level.

    False is certain, as far as text can be: no statement binds it, there is no star import, no
    module-level `__getattr__`, and nothing reaches for `globals()` or the like.
    """
    code = file.code
    if code is None:
        return False
    if any(isinstance(const, CodeType) and const.co_name == name for const in code.co_consts):
        return True
    if not _BINDING_WORDS.isdisjoint(code.co_names) or _STAR_IMPORT in code.co_consts:
        return True
    if any(not _IN_FUNCTIONS.isdisjoint(each.co_names) for each in all_code(code)):
        return True
    text = decode_source(file.source.content or b"")
    try:
        return _binds(symtable.symtable(text, file.path, "exec"), name)
    except (RecursionError, MemoryError):  # Code that compiles may be nested too deeply for this.
        return True


def _binds(table: symtable.SymbolTable, name: str) -> bool:
    """Return whether this scope, or a nested one after `global`, binds the module's `name`."""
    if name in table.get_identifiers():
        symbol = table.lookup(name)
        # A `:=` in a comprehension of the module declares its name global, too.
        is_here = table.get_type() == "module" and (symbol.is_assigned() or symbol.is_imported())
        if is_here or symbol.is_declared_global():
            return True
    return any(_binds(child, name) for child in table.get_children())


def top_names(file: CodeFile) -> set[str]:
    """Return the names that are mentioned at the top of `file`, among them those it binds."""
    if file.code is None:
        return set()
    inside = (each.co_name for each in file.code.co_consts if isinstance(each, CodeType))
    return {*file.code.co_names, *inside}


def found_classes(file: CodeFile, name: str) -> str:
    """Return what to say of the classes that `file` defines when it is not `name` that it does.

    ` (found: A, B)` with the closest first, or an empty string.
    """
    text = decode_source(file.source.content or b"")
    classes = [each.name for each in ast.parse(text).body if isinstance(each, ast.ClassDef)]
    classes.sort(key=lambda each: -SequenceMatcher(None, name, each).ratio())
    return f" (found: {listed(classes, _MOST_CLASSES)})" if classes else ""
