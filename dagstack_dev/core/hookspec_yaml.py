"""Hookspecs as YAML: `kind`, `kind_api_version`, `description`, `hooks` (contract, section 14)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from dagstack_dev.core.errors.base import in_words
from dagstack_dev.core.errors.files import HookspecsInvalid, ManifestProblem
from dagstack_dev.core.hookspecs import (
    TOOL_NAME_TEMPLATE,
    DispatchClass,
    ErrorPolicy,
    HookSpec,
    KindSpec,
    problem_of_hook_name,
    problem_of_kind,
    problem_of_template,
    problem_of_version,
    problem_of_word,
)
from dagstack_dev.core.refs import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

_KIND_KEYS: Final = ("kind", "kind_api_version", "description", "hooks")
_HOOK_KEYS: Final = (
    "name",
    "dispatch",
    "description",
    "input_schema",
    "output_schema",
    "mcp_exposed",
    "mcp_tool_name_template",
    "error_policy",
)


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
        problem = ManifestProblem("", message, mark.line + 1 if mark else None)
        raise HookspecsInvalid(path, [problem]) from error
    except (yaml.YAMLError, RecursionError) as error:
        raise HookspecsInvalid(path, [ManifestProblem("", f"cannot be parsed: {error}")]) from error
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
        """The spec of one document."""
        fields = self._mapping(node, "", _KIND_KEYS, ("kind", "hooks"))
        hooks = [*self._hooks(fields.get("hooks"))]
        self.refuse_twice("hooks", [hook.name for hook in hooks], "one entry per hook")
        return KindSpec(
            kind=self._text(fields, "kind", "", problem_of_kind),
            kind_api_version=self._text(fields, "kind_api_version", "", problem_of_version, "1"),
            description=self._text(fields, "description", ""),
            hooks=tuple(hooks),
        )

    def _hooks(self, node: Any) -> Iterator[HookSpec]:
        if node is None:
            return
        if not isinstance(node, self._yaml.SequenceNode):
            self._note("hooks", "must be a list of hooks", node)
            return
        for number, item in enumerate(node.value):
            yield self._hook(item, f"hooks[{number}].")

    def _hook(self, node: Any, prefix: str) -> HookSpec:
        fields = self._mapping(node, prefix, _HOOK_KEYS, ("name", "dispatch"))
        dispatch = self._text(fields, "dispatch", prefix, _one_of(DispatchClass))
        policy = self._text(fields, "error_policy", prefix, _one_of(ErrorPolicy))
        return HookSpec(
            name=self._text(fields, "name", prefix, problem_of_hook_name),
            dispatch=DispatchClass(dispatch or DispatchClass.SINGLETON),
            description=self._text(fields, "description", prefix),
            input_schema=self._schema(fields, "input_schema", prefix),
            output_schema=self._schema(fields, "output_schema", prefix),
            mcp_exposed=self._flag(fields, "mcp_exposed", prefix),
            mcp_tool_name_template=self._text(
                fields, "mcp_tool_name_template", prefix, problem_of_template, TOOL_NAME_TEMPLATE
            ),
            error_policy=ErrorPolicy(policy or ErrorPolicy.BEST_EFFORT),
        )

    def refuse_twice(self, field: str, names: list[str], wanted: str) -> None:
        """Note each name that is there twice."""
        for name in sorted({name for name in names if name and names.count(name) > 1}):
            self.problems.append(
                ManifestProblem(field, f"{name!r} is declared twice; write {wanted}")
            )

    def _mapping(
        self, node: Any, prefix: str, known: tuple[str, ...], required: tuple[str, ...]
    ) -> dict[str, Any]:
        """The value nodes of a mapping by key."""
        where = prefix.rstrip(".")
        if not isinstance(node, self._yaml.MappingNode):
            self._note(where, "must be a mapping", node)
            return {}
        fields: dict[str, Any] = {}
        for key, value in node.value:
            name = str(key.value)
            if name not in known:
                self._note(prefix + name, f"unknown key{did_you_mean(name, known)}", key)
            elif name in fields:
                self._note(prefix + name, "is there twice", key)
            else:
                fields[name] = value
        for name in required:
            if name not in fields:
                self._note(prefix + name, "missing", node)
        return fields

    def _text(
        self,
        fields: Mapping[str, Any],
        key: str,
        prefix: str,
        check: Callable[[str], str | None] = lambda _: None,
        default: str = "",
    ) -> str:
        """The text of a scalar; a version written as a number counts, too."""
        node = fields.get(key)
        if node is None:
            return default
        if not isinstance(node, self._yaml.ScalarNode) or node.tag.endswith(":null"):
            self._note(prefix + key, "must be text", node)
            return default
        message = check(node.value)
        if message is not None:
            self._note(prefix + key, message, node)
            return default
        return str(node.value)

    def _schema(self, fields: Mapping[str, Any], key: str, prefix: str) -> dict[str, Any] | None:
        node = fields.get(key)
        if node is None:
            return None
        value = self._value(node, prefix + key)
        if isinstance(value, dict):
            return value
        self._note(prefix + key, "must be a JSON schema, which is a mapping", node)
        return None

    def _flag(self, fields: Mapping[str, Any], key: str, prefix: str) -> bool:
        node = fields.get(key)
        value = False if node is None else self._value(node, prefix + key)
        if not isinstance(value, bool):
            self._note(prefix + key, "must be true or false", node)
            return False
        return value

    def _value(self, node: Any, field: str) -> object:
        loader = self._yaml.SafeLoader("")
        try:
            return loader.construct_document(node)
        except self._yaml.MarkedYAMLError as error:
            self._note(field, f"cannot be read: {error.problem}", node)
            return None
        except Exception as error:  # noqa: BLE001 - whatever the constructor of a type raises
            self._note(field, f"cannot be read: {in_words(error)}", node)
            return None
        finally:
            loader.dispose()

    def _note(self, field: str, message: str, node: Any) -> None:
        problem = ManifestProblem(field, message, node.start_mark.line + 1)
        if problem.field not in {each.field for each in self.problems}:
            self.problems.append(problem)


def _one_of(words: type[DispatchClass | ErrorPolicy]) -> Callable[[str], str | None]:
    return lambda word: problem_of_word(word, words)
