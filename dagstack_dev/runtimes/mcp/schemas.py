"""Values held against a JSON Schema that somebody else has written.

Imports jsonschema, which takes 60 ms, and so is imported only when a tool is called.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from jsonschema import Draft202012Validator, SchemaError
from jsonschema.validators import validator_for
from referencing import Registry
from referencing.exceptions import Unresolvable

if TYPE_CHECKING:
    from collections.abc import Mapping


class Schema:
    """One compiled schema. One that is none, or refers to what is not in it, allows everything."""

    def __init__(self, schema: Mapping[str, Any]) -> None:
        try:
            cls: Any = validator_for(schema, default=Draft202012Validator)
            cls.check_schema(schema)
        except (SchemaError, TypeError, ValueError, AttributeError):  # A `$schema` of any type.
            self._validator = None
        else:
            self._validator = cls(schema, registry=Registry())  # So that nothing is fetched.

    def problem_of(self, values: Mapping[str, Any]) -> tuple[str, str] | None:
        """The first thing that is wrong: the dotted path of the value, and what it is."""
        if self._validator is None:
            return None
        try:
            problem = next(self._validator.iter_errors(values), None)
        except (Unresolvable, RecursionError):  # A schema may refer to itself without end.
            return None
        if problem is None:
            return None
        if problem.validator == "required" and not problem.absolute_path:
            missing = next(name for name in problem.validator_value if name not in values)
            return missing, "is missing"
        path = ".".join(str(part) for part in problem.absolute_path)
        return path, f"does not fit: {problem.message}"
