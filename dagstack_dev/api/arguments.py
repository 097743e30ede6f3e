"""The arguments of a method that is called from outside: read as its annotations say."""

from __future__ import annotations

import inspect
import json
import re
from contextlib import suppress
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Final, get_type_hints

from pydantic import PydanticUserError, TypeAdapter, ValidationError

from dagstack_dev.api.problems import BAD_REQUEST, ProblemFound
from dagstack_dev.core.refs import did_you_mean
from dagstack_dev.core.secrets import masked_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

_MODULE_OF_NAME: Final = re.compile(r"""('[^']*'|"[^"]*")|\b(?:[^\W\d]\w*\.)+(?=[^\W\d])""")
"""A text in quotes, or what stands before the last part of a dotted name."""

_SAMPLES: Final[Mapping[object, object]] = {
    "integer": 1,
    "number": 1.5,
    "boolean": True,
    "null": None,
    "date": "2026-01-31",
    "date-time": "2026-01-31T12:00:00Z",
    "time": "12:00:00",
    "duration": "PT1H",
    "uuid": "12345678-1234-4234-8234-123456789abc",
}
"""Values by the format or type that a JSON schema gives; a text for any other."""

_DEEPEST: Final = 5
"""How deep a sample may be: schemas may contain themselves."""


class _Shown(str):
    """An annotation as text; it is shown without quotes."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


def signature_of(function: Callable[..., Any]) -> str:
    """Return the signature of `function` without secrets; types by their names alone."""

    def shown(annotation: Any) -> Any:
        if annotation is inspect.Signature.empty:
            return annotation
        is_text = isinstance(annotation, str)
        text = annotation if is_text else inspect.formatannotation(annotation)
        return _Shown(_MODULE_OF_NAME.sub(lambda found: found[1] or "", text))

    try:
        found = inspect.signature(function)
        parameters = [
            each.replace(annotation=shown(each.annotation)) for each in found.parameters.values()
        ]
        returned = shown(found.return_annotation)
        return masked_text(str(found.replace(parameters=parameters, return_annotation=returned)))
    except Exception:  # noqa: BLE001 - there is none, or the `repr` of a default raises
        return "(...)"


def bound(
    function: Callable[..., Any], name: str, arguments: Mapping[str, Any], *, coerce: bool
) -> dict[str, Any]:
    """Return `arguments` as `function` takes them.

    Args:
        function: what is called.
        name: of the method.
        arguments: by name.
        coerce: whether texts among them are to be read as the annotations say.

    Raises:
        ProblemFound: they do not fit its signature or, with `coerce`, its annotations.
    """
    signature = inspect.signature(function)
    try:
        signature.bind(**arguments)
    except TypeError as error:
        why = _unknown(signature, arguments) or str(error)
        raise ProblemFound(BAD_REQUEST, f"{name}{signature_of(function)}: {why}") from error
    return read_texts(function, arguments) if coerce else dict(arguments)


def read_texts(function: Callable[..., Any] | None, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return `arguments`, the texts among them as the annotations of `function` say, if it has any.

    Raises:
        ProblemFound: one is no text for its annotation.
    """
    hints = hints_of(function) if function is not None else {}
    return {key: _read(key, value, hints.get(key)) for key, value in arguments.items()}


def _unknown(signature: inspect.Signature, arguments: Mapping[str, Any]) -> str | None:
    known = signature.parameters
    unknown = next((each for each in arguments if each not in known), None)
    if unknown is None or any(each.kind is each.VAR_KEYWORD for each in known.values()):
        return None
    return f"there is no argument {unknown!r}{did_you_mean(unknown, known)}"


def hints_of(function: Callable[..., Any]) -> dict[str, Any]:
    """Return the annotations of `function`, but for those that name what cannot be found.

    Those of its signature: a method that runs elsewhere has no others.
    """
    parameters: Mapping[str, inspect.Parameter] = {}
    hints: dict[str, Any] = {}
    with suppress(Exception):  # They are the plugin's code, as below.
        parameters = inspect.signature(function).parameters
    for name, each in parameters.items():
        if each.annotation is not each.empty:
            with suppress(Exception):
                one = SimpleNamespace(__annotations__={name: each.annotation})
                names = inspect.unwrap(function).__globals__
                hints |= get_type_hints(one, names, include_extras=True)
    return hints


def _read(key: str, text: Any, hint: Any) -> Any:
    """Return a text as `hint` says; without one, as JSON if it is that."""
    if not isinstance(text, str) or hint is str:
        return text
    value = _from_json(text)
    if hint is None:
        return value
    try:
        adapter = TypeAdapter(hint)
    except PydanticUserError:  # It is of no type that values have a text for.
        return value
    try:
        return adapter.validate_python(value)
    except ValidationError as error:
        with suppress(ValidationError):
            return adapter.validate_python(text)
        why = masked_text(f"{key}: {_reasons(error)}") if text else f"{key} needs a value"
        example = _example(text, adapter)
        raise ProblemFound(BAD_REQUEST, why, argument=key, example=example) from error


def _from_json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _reasons(error: ValidationError) -> str:
    """Return what pydantic says, each with the place within the value."""
    reasons = []
    for each in error.errors(include_url=False):
        place = ".".join(map(str, each["loc"]))
        reasons.append(f"{place and f'{place}: '}{each['msg'].removeprefix('Input ')}")
    return "; ".join(reasons)


def _example(text: str, adapter: TypeAdapter[Any]) -> str | None:
    """Return how to write a value that `adapter` takes, if one is found."""
    for value in _fitting(text, adapter):
        try:
            adapter.validate_python(value)
        except ValidationError:
            continue
        written = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        return masked_text(written)
    return None


def _fitting(text: str, adapter: TypeAdapter[Any]) -> Iterator[Any]:
    """Yield what may be meant by `text`: a list without brackets; then what `adapter` takes."""
    yield _from_json(f"[{text}]")
    yield [each.strip() for each in text.split(",")]
    try:
        schema = adapter.json_schema()
    except PydanticUserError:  # JSON has no form for it.
        return
    yield _sample(schema, schema.get("$defs", {}), 0)


def _sample(schema: Mapping[str, Any], named: Mapping[str, Any], depth: int) -> Any:
    """Return a value that fits a JSON schema; maybe not, where that has patterns or limits."""

    def sample(part: Mapping[str, Any]) -> Any:
        return _sample(part, named, depth + 1) if depth < _DEEPEST else None

    match schema:
        case {"const": value} | {"enum": [value, *_]} | {"examples": [value, *_]}:
            return value
        case {"$ref": str(name)}:
            return sample(named[name.rpartition("/")[2]])
        case {"anyOf": [part, *_]} | {"oneOf": [part, *_]}:
            return sample(part)
        case {"prefixItems": parts}:
            return [*map(sample, parts)]
        case {"type": "array"}:
            return [sample(schema.get("items", {}))]
        case {"type": "object", "properties": properties}:
            needed = schema.get("required", properties)
            return {key: sample(properties[key]) for key in needed}
        case {"type": "object"}:
            return {"name": sample(schema.get("additionalProperties") or {})}
        case _:
            of_format = _SAMPLES.get(schema.get("format"))
            return of_format or _SAMPLES.get(schema.get("type"), "text")
