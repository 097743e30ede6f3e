"""Hookspecs as decorated classes, so that an app has its kinds as types, too."""

from __future__ import annotations

import inspect
from types import FunctionType
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar, overload

from dagstack_dev.core.errors.files import HookspecsInvalid, ManifestProblem
from dagstack_dev.core.hookspecs.kinds import (
    NO_HOOKS,
    TOOL_NAME_TEMPLATE,
    DispatchClass,
    ErrorPolicy,
    HookSpec,
    KindSpec,
    problem_of,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

_Class = TypeVar("_Class", bound=type)
_Method = TypeVar("_Method", bound="Callable[..., Any]")

_MARK: Final = "__dagstack_hook__"
_SPEC: Final = "__dagstack_hookspecs__"


class _HookDecorator(Protocol):
    """Marks a method as a hook; with or without options."""

    @overload
    def __call__(self, method: _Method, /) -> _Method: ...

    @overload
    def __call__(
        self,
        *,
        input_schema: Mapping[str, Any] | None = None,
        output_schema: Mapping[str, Any] | None = None,
        mcp_exposed: bool = False,
        mcp_tool_name_template: str = TOOL_NAME_TEMPLATE,
        error_policy: str = ErrorPolicy.BEST_EFFORT,
    ) -> Callable[[_Method], _Method]: ...


def _decorator(dispatch: DispatchClass) -> _HookDecorator:
    def decorate(method: Any = None, /, **options: Any) -> Any:
        def mark(function: Any) -> Any:
            setattr(function, _MARK, (dispatch, options))
            return function

        return mark if method is None else mark(method)

    decorate.__name__ = decorate.__qualname__ = dispatch.value
    return decorate


singleton: Final = _decorator(DispatchClass.SINGLETON)
broadcast_collect: Final = _decorator(DispatchClass.BROADCAST_COLLECT)
broadcast_notify: Final = _decorator(DispatchClass.BROADCAST_NOTIFY)
chain: Final = _decorator(DispatchClass.CHAIN)
capability: Final = _decorator(DispatchClass.CAPABILITY)


def hookspecs(*, kind: str, kind_api_version: str = "1") -> Callable[[_Class], _Class]:
    """Make a class the spec of a kind, for `registry.add_hookspecs`; a `Protocol`, usually.

        @hookspecs(kind="search", kind_api_version="1")
        class Search(Protocol):
            @broadcast_collect
            def find(self, ctx: PluginContext, query: str) -> list[str]: ...

            @chain(mcp_exposed=True)
            def rank(self, ctx: PluginContext, value: list[str]) -> list[str]: ...

    Each public method is a hook, and needs one of the decorators `singleton`,
    `broadcast_collect`, `broadcast_notify`, `chain` and `capability`. The class itself is left
    as it is. Docstrings become descriptions.

    Args:
        kind: as manifests name it.
        kind_api_version: its version, as `1` or `1.2.0`.

    Raises:
        HookspecsInvalid: with everything that is wrong, when the class is decorated.
    """

    def decorate(cls: _Class) -> _Class:
        problems = [
            ManifestProblem(field, message)
            for field, value in (("kind", kind), ("kind_api_version", kind_api_version))
            if (message := problem_of(field, value)) is not None
        ]
        hooks = tuple(_hooks(cls, problems))
        if problems:
            raise HookspecsInvalid(_place(cls), problems)
        spec = KindSpec(
            kind=kind,
            kind_api_version=kind_api_version,
            hooks=hooks,
            description=inspect.cleandoc(cls.__doc__ or ""),
        )
        setattr(cls, _SPEC, spec)
        return cls

    return decorate


def spec_of(cls: type) -> KindSpec | None:
    """Return the spec that `hookspecs` has made of a class, or None."""
    return vars(cls).get(_SPEC)


def _hooks(cls: type, problems: list[ManifestProblem]) -> Iterator[HookSpec]:
    members: dict[str, object] = {}
    for base in reversed(cls.__mro__[:-1]):
        members |= vars(base)
    for name, member in members.items():
        mark = getattr(member, _MARK, None)
        if mark is None:
            if isinstance(member, FunctionType) and not (name.startswith("_") or name in NO_HOOKS):
                words = ", ".join(f"@{each.value}" for each in DispatchClass)
                message = f"says not how it is called; decorate it with one of {words}"
                problems.append(ManifestProblem(name, message, _line(member)))
            continue
        dispatch, options = mark
        given = {"name": name, "error_policy": ErrorPolicy.BEST_EFFORT, **options}
        found = next(filter(None, map(problem_of, given, given.values())), None)
        if found is not None:
            problems.append(ManifestProblem(name, found, _line(member)))
            continue
        given["error_policy"] = ErrorPolicy(given["error_policy"])
        text = inspect.cleandoc(getattr(member, "__doc__", None) or "")
        yield HookSpec(dispatch=dispatch, description=text, **given)


def _line(member: object) -> int | None:
    return member.__code__.co_firstlineno if isinstance(member, FunctionType) else None


def _place(cls: type) -> str:
    """Return the file of a class as its methods have it; reading no file."""
    functions = [each for each in vars(cls).values() if isinstance(each, FunctionType)]
    return functions[0].__code__.co_filename if functions else cls.__qualname__
