"""Compiled code that outlives the process, in the place where CPython keeps it.

The files in `__pycache__` are CPython's own checked hash-based ones (PEP 552): they hold for the
content they were made from, so that neither a time stamp nor a size can make them stale.
"""

from __future__ import annotations

import marshal
import os
import sys
from contextlib import suppress
from functools import partial
from importlib.util import MAGIC_NUMBER, cache_from_source, source_hash
from types import CodeType
from typing import Any, Final

_CHECKED_HASH: Final = (0b11).to_bytes(4, "little")


def compile_cached(path: str, content: bytes) -> CodeType:
    """Compile `content`, the bytes of the file at `path`, unless that has been done before.

    Raises:
        SyntaxError, ValueError, RecursionError, MemoryError, OverflowError: as `compile`.
    """
    header = MAGIC_NUMBER + _CHECKED_HASH + source_hash(content)
    try:
        cache = cache_from_source(path)
    except NotImplementedError:  # This Python keeps no bytecode.
        return compile_text(path, content)
    code = kept(cache, header)
    if (
        not isinstance(code, CodeType) or code.co_filename != path
    ):  # The folder may have been moved.
        code = compile_text(path, content)
        if not sys.dont_write_bytecode:
            keep(cache, path, header, code)
    return code


def compile_text(path: str, content: bytes) -> CodeType:
    """Compile `content`, the bytes of the file at `path`. Raises as `compile`."""
    return compile(content, path, "exec", dont_inherit=True)


def kept(cache: str, header: bytes) -> object:
    """Return what is in the file `cache`, or None for any reason to make it anew."""
    try:
        with open(cache, "rb", 0) as file:  # noqa: PTH123 - per file on the hot path
            data = file.read()
        if not data.startswith(header):
            return None
        return marshal.loads(memoryview(data)[len(header) :])  # noqa: S302 - as trusted as the code beside it
    except Exception:  # noqa: BLE001 - no file, or whatever marshal makes of a damaged one
        return None


def keep(cache: str, path: str, header: bytes, value: Any) -> None:
    """Put `value` into the file `cache`, whole or not at all; as private as `path`.

    A folder that cannot be written to only means that this is to be done again.
    """
    unfinished = f"{cache}.{os.getpid()}"
    try:
        data = header + marshal.dumps(value)
        mode = os.stat(path).st_mode & 0o666 | 0o200  # noqa: PTH116 - per file on the hot path
        os.makedirs(os.path.dirname(cache), exist_ok=True)  # noqa: PTH103, PTH120 - likewise
        with open(unfinished, "xb", opener=partial(os.open, mode=mode)) as file:
            file.write(data)
        os.replace(unfinished, cache)  # noqa: PTH105 - likewise
    except (OSError, ValueError):  # The latter for code nested too deeply for marshal.
        with suppress(OSError):
            os.unlink(unfinished)  # noqa: PTH108 - likewise
