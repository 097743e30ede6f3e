"""What `setup`, `teardown` and `__init__` take, as far as the text of the plugin's class says."""

from __future__ import annotations

import ast
import inspect
import re
from collections import Counter
from inspect import Parameter, Signature
from typing import TYPE_CHECKING, Final

from dagstack_dev.core.errors.life import SignatureMismatch
from dagstack_dev.runtimes.code import all_code
from dagstack_dev.static.findings import METHOD_GENERATOR, Finding, findings_of
from dagstack_dev.static.modules import Module

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from types import CodeType

    from dagstack_dev.core.refs import PluginRef
    from dagstack_dev.static.project import Project

_PARAMETERS: Final = {"setup": 2, "teardown": 1, "__init__": 1}
"""How many each is called with, the instance included."""

_Method = ast.FunctionDef | ast.AsyncFunctionDef


def lifecycle(project: Project) -> Iterator[Finding]:
    """Yield each method of a plugin's life that cannot be called, or that would do nothing."""
    for ref, code in project.modules.code.items():
        module = project.modules.find(project.modules.home(ref))
        if not isinstance(module, Module) or module.file is None or module.file.code is None:
            continue
        cls = code.manifest.entry_class
        has_bases = bool(re.search(rb"\bclass\s+%b\s*[(\[]" % cls.encode(), module.text))
        codes = all_code(module.file.code)
        if all(_is_usual(each, cls, has_bases=has_bases) for each in codes):
            continue  # There is no need to parse it, which takes longer than all the rest.
        tree = ast.parse(module.text)
        nodes = [*ast.walk(tree)]
        if any(map(_sets_a_method, nodes)):
            continue
        bound = Counter(map(_bound, nodes))
        classes = {
            each.name: each
            for each in tree.body
            if isinstance(each, ast.ClassDef) and bound[each.name] == 1
        }
        for name in _PARAMETERS:
            if name == "__init__" and not _is_made_as_usual(classes, cls):
                continue
            found = _method(classes, cls, name)
            if found is not None:
                yield from _wrong(ref, module.file.path, *found)


def _is_made_as_usual(classes: Mapping[str, ast.ClassDef], class_name: str) -> bool:
    """Return whether `__init__` is certain to get the arguments of a call of the class."""
    todo = [class_name]
    for each in todo:  # It grows meanwhile.
        cls = classes.get(each)
        if each == "object":
            continue
        if cls is None or cls.keywords or "__new__" in map(_bound, ast.walk(cls)):
            return False
        todo += [base.id if isinstance(base, ast.Name) else "" for base in cls.bases]
        if len(todo) > len(classes) + 1:  # They may go round in a circle.
            return False
    return True


def _is_usual(code: CodeType, class_name: str, *, has_bases: bool) -> bool:
    """Return whether a function is none of the life of this class, or takes what it is to."""
    wanted = _PARAMETERS.get(code.co_name)
    is_of_others = code.co_qualname != f"{class_name}.__init__" and not has_bases
    if wanted is None or (code.co_name == "__init__" and is_of_others):
        return True
    is_generator = code.co_flags & (inspect.CO_GENERATOR | inspect.CO_ASYNC_GENERATOR)
    return code.co_argcount == wanted and not code.co_kwonlyargcount and not is_generator


def _sets_a_method(node: ast.AST) -> bool:
    match node:
        case ast.Attribute(attr=name, ctx=ast.Store()):
            return name in _PARAMETERS
        case _:
            return isinstance(node, ast.Name) and node.id == "setattr"


def _method(
    classes: Mapping[str, ast.ClassDef], class_name: str, name: str
) -> tuple[str, _Method] | None:
    """Return a method and the class that defines it; None where the text does not decide it."""
    known = set[str]()
    while class_name in classes and class_name not in known:
        known.add(class_name)
        cls = classes[class_name]
        if cls.decorator_list or cls.keywords:
            return None
        match [each for each in ast.walk(cls) if _bound(each) == name]:
            case [
                ast.FunctionDef(decorator_list=[]) | ast.AsyncFunctionDef(decorator_list=[]) as one
            ] if one in cls.body:
                return class_name, one
            case []:
                bases = [each.id for each in cls.bases if isinstance(each, ast.Name)]
                class_name = bases[0] if len(bases) == len(cls.bases) == 1 else ""
            case _:
                return None
    return None


def _bound(node: ast.AST) -> str | None:
    """Return the name that a node binds, if it binds one."""
    match node:
        case ast.Name(id=name, ctx=ast.Store()) | ast.alias(asname=str(name)):
            return name
        case _:
            return getattr(node, "name", None)


def _wrong(ref: PluginRef, path: str, class_name: str, method: _Method) -> Iterator[Finding]:
    parameters = _parameters(method.args)
    takes_self = parameters and parameters[0].kind is not Parameter.KEYWORD_ONLY
    if takes_self and parameters[0].kind is not Parameter.VAR_POSITIONAL:
        del parameters[0]
    reason = SignatureMismatch.reason_of(
        method.name,
        f"{class_name}.{method.name}",
        Signature(parameters) if takes_self else None,
        is_async=isinstance(method, ast.AsyncFunctionDef),
        has_self=True,
    )
    if reason is not None:
        yield from findings_of(SignatureMismatch(ref, reason, path, method.lineno), path)
    elif _yields(method):
        message = f"{class_name}.{method.name} has a `yield` in it, so that none of it would run"
        fix = "write it without; what is entered by ctx.enter is left at the end"
        yield Finding(METHOD_GENERATOR, path, message, method.lineno, fix=fix, ref=ref)


def _parameters(args: ast.arguments) -> list[Parameter]:
    """Return what `inspect` would say of a function with these arguments."""
    plain = [*args.posonlyargs, *args.args]
    without = len(plain) - len(args.defaults)
    found = [  # As if a `/` stood behind them: all is given by position.
        Parameter(
            each.arg, Parameter.POSITIONAL_ONLY, default=Parameter.empty if at < without else None
        )
        for at, each in enumerate(plain)
    ]
    if args.vararg is not None:
        found.append(Parameter(args.vararg.arg, Parameter.VAR_POSITIONAL))
    for each, default in zip(args.kwonlyargs, args.kw_defaults, strict=True):
        value = Parameter.empty if default is None else None
        found.append(Parameter(each.arg, Parameter.KEYWORD_ONLY, default=value))
    if args.kwarg is not None:
        found.append(Parameter(args.kwarg.arg, Parameter.VAR_KEYWORD))
    return found


def _yields(method: _Method) -> bool:
    """Return whether it is a generator: whether there is a `yield` in no function inside it."""
    todo: list[ast.AST] = [*method.body]
    for node in todo:  # It grows meanwhile.
        if isinstance(node, ast.Yield | ast.YieldFrom):
            return True
        if not isinstance(node, _Method | ast.Lambda | ast.ClassDef):
            todo += ast.iter_child_nodes(node)
    return False
