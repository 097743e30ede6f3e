"""From a server's tools to methods, and from a call of one to arguments, which are checked."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from keyword import iskeyword
from typing import TYPE_CHECKING, Any, Final
from unicodedata import is_normalized, normalize

from pydantic_core import to_jsonable_python

from dagstack_dev.core.errors.remote import ToolArgumentsInvalid
from dagstack_dev.core.ports import PARAMETERS
from dagstack_dev.core.refs import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator

    from dagstack_dev.core.refs import PluginRef
    from dagstack_dev.runtimes.mcp.catalogue import Tool

_TYPES: Final[Mapping[object, Any]] = {
    "string": str,
    "integer": int,
    "number": float,
    "boolean": bool,
    "array": list,
    "object": dict,
    "null": None,
}

_NAME_MORE: Final = frozenset({
        "$dynamicRef", "$recursiveRef", "$ref", "allOf", "anyOf", "dependencies",
        "dependentRequired", "dependentSchemas", "else", "extends", "if", "not", "oneOf",
        "patternProperties", "propertyNames", "then", "unevaluatedProperties",
})  # fmt: skip
"""Keywords of a schema that may name arguments besides its `properties`."""


class _Unset:
    """Stands in a signature for a default that only the server knows."""

    def __repr__(self) -> str:
        return "..."


_UNSET: Final = _Unset()


class Arguments:
    """How one tool is called: its signature, and the check of what a call passes.

    Args:
        ref: the plugin, for messages.
        tool: for its input schema.

    Attributes:
        signature: of the method that stands for the tool, `self` included.
    """

    def __init__(self, ref: PluginRef, tool: Tool) -> None:
        self._ref = ref
        self._tool = tool
        required = tool.input_schema.get("required")
        listed = required if isinstance(required, list | tuple) else ()
        self._required = frozenset(name for name in listed if isinstance(name, str))
        properties = tool.input_schema.get("properties")
        named = properties if isinstance(properties, Mapping) else {}
        only_required = [name for name in listed if isinstance(name, str) and name not in named]
        self._properties: Mapping[str, Any] = {**named, **dict.fromkeys(only_required, True)}
        self._names = parameter_names(self._properties)
        # JSON Schema lets anything pass that it does not name; a misspelt name is an error here.
        more = tool.input_schema.get("additionalProperties", False)
        self._takes_more = more is not False or bool(_NAME_MORE & tool.input_schema.keys())
        self.signature = inspect.Signature([*self._parameters()])
        self._call = self.signature.replace(parameters=[*self.signature.parameters.values()][1:])

    def _parameters(self) -> Iterator[inspect.Parameter]:
        own = _free_name("self", {*self._properties, *self._names})
        yield inspect.Parameter(own, inspect.Parameter.POSITIONAL_ONLY)
        names = self._names
        for name in sorted(names, key=lambda name: names[name] not in self._required):
            schema = self._properties[names[name]]
            known = schema if isinstance(schema, Mapping) else {}
            default = inspect.Parameter.empty
            if names[name] not in self._required:
                default = known.get("default", _UNSET)
            yield inspect.Parameter(
                name,
                inspect.Parameter.POSITIONAL_OR_KEYWORD,
                default=default,
                annotation=_TYPES.get(_one_type(known), inspect.Parameter.empty),
            )
        if self._takes_more or len(names) < len(self._properties):
            rest = _free_name("arguments", {own, *names})
            yield inspect.Parameter(rest, inspect.Parameter.VAR_KEYWORD)

    def of_call(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        """Return the arguments to send for a call of the method.

        A context in front is left out: dispatchers pass one to every hook. One mapping in place
        of everything is taken for the arguments themselves, unless the first parameter is an
        object, too.

        Args:
            args: by position.
            kwargs: by the names that can be written in Python.

        Raises:
            ToolArgumentsInvalid: they do not fit the signature or the input schema.
        """
        if args and _is_context(args[0]):
            args = args[1:]
        if len(args) == 1 and not kwargs and self._is_all(args[0]):
            return self.checked(args[0])
        named = {given: name for name, given in self._names.items()}
        kwargs = {named.get(name, name): value for name, value in kwargs.items()}
        try:
            bound = self._call.bind(*args, **kwargs)
        except TypeError as error:
            known = {*self._properties, *self._names}
            unknown = next((name for name in kwargs if name not in known), None)
            if unknown is not None and not self._takes_more:
                raise self._unknown(unknown) from None
            raise self._invalid("", f"{error}; its signature is {self._call}") from None
        given = {self._names.get(name, name): value for name, value in bound.arguments.items()}
        for parameter in self._call.parameters.values():
            if parameter.kind is inspect.Parameter.VAR_KEYWORD:
                given |= given.pop(parameter.name, {})
        return self.checked(given)

    def checked(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Return `arguments` as JSON values that the tool's input schema allows.

        Raises:
            ToolArgumentsInvalid: they are no JSON, or not what the schema asks for.
        """
        for name in arguments:
            if name not in self._properties and not self._takes_more:
                raise self._unknown(name)
        try:
            values: dict[str, Any] = to_jsonable_python(dict(arguments))
        except ValueError as error:
            raise self._invalid("", f"cannot be sent as JSON: {error}") from error
        schema = self._tool.takes
        if schema is not None and (problem := schema.problem_of(values)):
            raise self._invalid(*problem)
        return values

    def _is_all(self, value: object) -> bool:
        if not isinstance(value, Mapping):
            return False
        first = next(iter(self._call.parameters.values()), None)
        if first is None or first.kind is inspect.Parameter.VAR_KEYWORD:
            return True
        schema = self._properties[self._names[first.name]]
        return isinstance(schema, Mapping) and _one_type(schema) not in {None, "object"}

    def _unknown(self, name: str) -> ToolArgumentsInvalid:
        listed = ", ".join(self._properties) or "none"
        hint = did_you_mean(name, self._properties)
        return self._invalid(name, f"is unknown{hint} (arguments: {listed})")

    def _invalid(self, argument: str, message: str) -> ToolArgumentsInvalid:
        return ToolArgumentsInvalid(self._ref, self._tool.name, argument, message)


def class_of(
    base: type, ref: PluginRef, tools: Collection[Tool], *, description: str | None
) -> tuple[type, Mapping[str, Arguments]]:
    """Make a subclass of `base` with a method for each tool, and how each tool is called.

    A tool whose name is no identifier, or that of something that `base` has, gets no method;
    `{kind}.{plugin}.{hook}` gets one by the name of the hook (ADR-4).

    Args:
        base: has `_call(tool, arguments)`.
        ref: the plugin.
        tools: as the server lists them.
        description: what the class says of itself.
    """
    arguments = {tool.name: Arguments(ref, tool) for tool in tools}
    members: dict[str, Any] = {"__doc__": description or f"The MCP server {ref}."}
    # Of names that are one in Python, the one that is written so has the method.
    for tool in sorted(tools, key=lambda each: not is_normalized("NFKC", each.name)):
        name = method_name(ref, tool.name)
        if name is not None and not hasattr(base, name) and name not in members:
            members[name] = _method(name, tool, arguments[tool.name])
    title = "".join(part.capitalize() for part in ref.name.replace(".", "-").split("-"))
    return type(title, (base,), members | {"__module__": base.__module__}), arguments


def method_name(ref: PluginRef, tool: str) -> str | None:
    """Return the name of the method that stands for a tool, or None if there can be none."""
    name = normalize("NFKC", tool.removeprefix(f"{ref.kind}.{ref.name}."))
    usable = name.isidentifier() and not iskeyword(name) and not name.startswith("_")
    return name if usable else None


def _method(name: str, tool: Tool, arguments: Arguments) -> Callable[..., Any]:
    # The signature is shown, not compiled: a context in front has to be let through.
    async def method(self: Any, /, *args: Any, **kwargs: Any) -> Any:
        return await self._call(tool, arguments.of_call(args, kwargs))

    method.__name__ = name
    method.__qualname__ = name
    method.__doc__ = tool.description or tool.title
    method.__signature__ = arguments.signature  # type: ignore[attr-defined]
    setattr(method, PARAMETERS, tool.input_schema)
    return method


def parameter_names(names: Iterable[str]) -> dict[str, str]:
    """Return the names that can be written in Python, and which of `names` each stands for.

    Python takes identifiers for one that are one after NFKC, as `ﬁle` and `file`; the one that is
    written so comes first, and another has no such name.
    """
    found: dict[str, str] = {}
    for name in names:
        written = normalize("NFKC", name)
        is_free = written not in found or written == name
        if is_free and written.isidentifier() and not iskeyword(written):
            found[written] = name
    return found


def _one_type(schema: Mapping[str, Any]) -> str | None:
    """Return the only type that a schema allows, besides null, where that is plain to see."""
    types = schema.get("type")
    if isinstance(types, list):
        types = [each for each in types if each != "null"]
        return str(types[0]) if len(types) == 1 else None
    return types if isinstance(types, str) else None


def _free_name(name: str, taken: Collection[str]) -> str:
    while name in taken:
        name = f"_{name}"
    return name


def _is_context(value: object) -> bool:
    """Return whether it has the shape of a context, as dispatchers pass it."""
    return hasattr(value, "registry") and hasattr(value, "logger") and hasattr(value, "config")
