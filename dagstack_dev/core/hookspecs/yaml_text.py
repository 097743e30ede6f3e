"""Hookspecs as YAML: `kind`, `kind_api_version`, `description`, `hooks` (contract, section 14)."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, Final

from dagstack_dev.core.errors.base import in_words
from dagstack_dev.core.errors.files import HookspecsInvalid, ManifestProblem
from dagstack_dev.core.hookspecs.kinds import (
    DispatchClass,
    ErrorPolicy,
    HookSpec,
    KindSpec,
    problem_of,
)
from dagstack_dev.core.refs import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Mapping

_SCHEMA: Final = (dict, "a JSON schema, which is a mapping")
_TYPED: Final[Mapping[str, tuple[type, str]]] = {
    "input_schema": _SCHEMA,
    "output_schema": _SCHEMA,
    "mcp_exposed": (bool, "true or false"),
}
"""The fields that are no text; that is taken as it is written, so `1.10` is no number."""

_WORDS: Final = {"dispatch": DispatchClass, "error_policy": ErrorPolicy}


def parse_hookspecs(text: str, path: str = "<hookspecs>") -> tuple[KindSpec, ...]:
    """Read the specs of one kind or, as several documents of one text, of several.

    Args:
        text: YAML.
        path: where it was read, for messages.

    Raises:
        HookspecsInvalid: with every problem at once, each with its line.
    """
    import yaml  # noqa: PLC0415 - only who writes YAML pays for it

    try:
        documents: list[Any] = [*yaml.compose_all(text, Loader=yaml.SafeLoader)]
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        message = f"is not valid YAML: {error.problem or error.context}"
        line = mark.line + 1 if mark else None
        raise HookspecsInvalid.of(path, message, line) from error
    except (yaml.YAMLError, RecursionError) as error:
        raise HookspecsInvalid.of(path, f"cannot be parsed: {error}") from error
    reader = _Reader(yaml)
    specs = [reader.kind(node) for node in documents if not node.tag.endswith(":null")]
    if not specs:
        reader.problems.append(ManifestProblem("", "is empty; a hookspec was expected"))
    reader.refuse_twice("kind", [spec.kind for spec in specs], "one document per kind")
    if reader.problems:
        raise HookspecsInvalid(path, sorted(reader.problems, key=lambda each: each.line or 0))
    return tuple(specs)


class _Reader:
    """Makes specs of nodes and collects what is wrong with them.

    Args:
        yaml: the module, which is not imported before it is needed.
    """

    def __init__(self, yaml: Any) -> None:
        self._yaml = yaml
        self.problems: list[ManifestProblem] = []

    def kind(self, node: Any) -> KindSpec:
        """Return the spec of one document."""
        spec = KindSpec(**{"kind": "", **self._fields(node, "", KindSpec, ("kind", "hooks"))})
        self.refuse_twice("hooks", [hook.name for hook in spec.hooks], "one entry per hook")
        return spec

    def _hook(self, node: Any, prefix: str) -> HookSpec:
        given = self._fields(node, prefix, HookSpec, ("name", "dispatch"))
        return HookSpec(**{"name": "", "dispatch": DispatchClass.SINGLETON, **given})

    def refuse_twice(self, field: str, names: list[str], wanted: str) -> None:
        """Note each name that is there twice."""
        for name in sorted({name for name in names if name and names.count(name) > 1}):
            self.problems.append(
                ManifestProblem(field, f"{name!r} is declared twice; write {wanted}")
            )

    def _fields(
        self, node: Any, prefix: str, spec: type[KindSpec | HookSpec], required: tuple[str, ...]
    ) -> dict[str, Any]:
        """Return what a mapping says of the fields of `spec`, without what cannot be used."""
        if not isinstance(node, self._yaml.MappingNode):
            self._note(prefix.rstrip("."), "must be a mapping", node)
            return {}
        known = [each.name for each in dataclasses.fields(spec) if each.init]
        nodes: dict[str, Any] = {}
        for key, value in node.value:
            name = str(key.value)
            if name not in known:
                self._note(prefix + name, f"unknown key{did_you_mean(name, known)}", key)
            elif name in nodes:
                self._note(prefix + name, "is there twice", key)
            else:
                nodes[name] = value
        for name in required:
            if name not in nodes:
                self._note(prefix + name, "missing", node)
        read = {name: self._value(name, value, prefix + name) for name, value in nodes.items()}
        return {name: value for name, value in read.items() if value is not None}

    def _value(self, key: str, node: Any, field: str) -> object:
        """Return the value of a field; None for one that cannot be used, which is noted."""
        if key == "hooks":
            return self._hooks(node)
        if key in _TYPED:
            kind, wanted = _TYPED[key]
            value = self._constructed(node, field)
            if not isinstance(value, kind):
                self._note(field, f"must be {wanted}", node)
                return None
            return value
        if not isinstance(node, self._yaml.ScalarNode) or node.tag.endswith(":null"):
            self._note(field, "must be text", node)
            return None
        if message := problem_of(key, node.value):
            self._note(field, message, node)
            return None
        return _WORDS[key](node.value) if key in _WORDS else str(node.value)

    def _hooks(self, node: Any) -> tuple[HookSpec, ...] | None:
        if isinstance(node, self._yaml.SequenceNode):
            found = enumerate(node.value)
            return tuple(self._hook(item, f"hooks[{number}].") for number, item in found)
        self._note("hooks", "must be a list of hooks", node)
        return None

    def _constructed(self, node: Any, field: str) -> object:
        loader = self._yaml.SafeLoader("")
        try:
            return loader.construct_document(node)
        except self._yaml.MarkedYAMLError as error:
            self._note(field, f"cannot be read: {error.problem}", node)
        except Exception as error:  # noqa: BLE001 - whatever the constructor of a type raises
            self._note(field, f"cannot be read: {in_words(error)}", node)
        finally:
            loader.dispose()
        return None

    def _note(self, field: str, message: str, node: Any) -> None:
        problem = ManifestProblem(field, message, node.start_mark.line + 1)
        if problem.field not in {each.field for each in self.problems}:
            self.problems.append(problem)
