"""Steps as text: what `scripts/soak` prints, and what it replays from a file.

Each step is written as the Python expression for it, without what is so by default, and read
without running anything. Such a file means the same edits whatever becomes of the generator.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable
from dataclasses import MISSING, fields, is_dataclass
from enum import Enum
from typing import Any

from soaking import actions, modules, saves, sources, steps
from soaking.steps import Step

WIDTH = 100
"""Characters in a line, where it can be broken."""

_CLASSES = {
    name: found
    for module in (actions, modules, saves, sources, steps)
    for name, found in vars(module).items()
    if isinstance(found, type)
}


def write(sequence: Iterable[Step]) -> str:
    """The text of some steps."""
    return "".join(f"{expression(step)}\n" for step in sequence)


def read(text: str) -> list[Step]:
    """The steps in `text`.

    Raises:
        ValueError, SyntaxError, KeyError, TypeError: It holds something else.
    """
    return [_value(each.value) for each in ast.parse(text).body if isinstance(each, ast.Expr)]


def expression(value: object, indent: str = "", label: str = "") -> str:
    """The expression for a step, or for anything in it; in several lines if one is too long.

    Args:
        value: what to write.
        indent: what the lines after the first begin with.
        label: what stands before it in the first line, after the indent.
    """
    if isinstance(value, Enum):
        return f"{type(value).__name__}.{value.name}"
    if is_dataclass(value):
        opening, items, closing = f"{type(value).__name__}(", _arguments(value), ")"
    elif isinstance(value, tuple) and value and all(map(_is_pair, value)):
        opening, items, closing = "{", [(f"{key!r}: ", each) for key, each in value], "}"
    elif isinstance(value, tuple):
        opening, items = "(", [("", each) for each in value]
        closing = ",)" if len(value) == 1 else ")"
    else:
        return repr(value)
    flat = ", ".join(name + expression(each) for name, each in items)
    if "\n" not in flat and len(f"{indent}{label}{opening}{flat}{closing},") <= WIDTH:
        return f"{opening}{flat}{closing}"
    inner = f"{indent}    "
    lines = (f"{inner}{name}{expression(each, inner, name)},\n" for name, each in items)
    return f"{opening}\n{''.join(lines)}{indent}{closing[-1]}"


def _is_pair(value: object) -> bool:
    """Whether `value` may be written as an entry of a dictionary."""
    return isinstance(value, tuple) and len(value) == 2 and isinstance(value[0], str)


def _arguments(value: Any) -> list[tuple[str, object]]:
    """What `value` is made from; what has to be given goes by its position, and first."""
    given = [(each, getattr(value, each.name)) for each in fields(value)]
    return [("", it) for each, it in given if each.default is MISSING] + [
        (f"{each.name}=", it)
        for each, it in given
        if each.default is not MISSING and it != each.default
    ]


def _value(node: ast.expr) -> Any:
    match node:
        case ast.Call(func=ast.Name(id=name)):
            named = {each.arg or "": _value(each.value) for each in node.keywords}
            return _CLASSES[name](*map(_value, node.args), **named)
        case ast.Attribute(value=ast.Name(id=name)):
            return _CLASSES[name][node.attr]  # type: ignore[index]
        case ast.Dict(keys=keys, values=values):
            return tuple(zip(map(_value, filter(None, keys)), map(_value, values), strict=True))
        case ast.Tuple(elts=items):
            return tuple(map(_value, items))
        case _:
            return ast.literal_eval(node)
