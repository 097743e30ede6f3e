"""Values held against a JSON Schema that somebody else has written."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jsonschema_rs

if TYPE_CHECKING:
    from collections.abc import Mapping


def compiled(schema: Mapping[str, Any] | None) -> Schema | None:
    """`schema`, or None where that is none or refers to what is not in it: all is allowed then."""
    if schema is None:
        return None
    try:
        # Nothing is fetched, and no pattern takes more than linear time or so.
        return Schema(jsonschema_rs.validator_for(dict(schema), offline=True))
    except ValueError:
        return None


class Schema:
    """One compiled schema; see `compiled`."""

    def __init__(self, validator: jsonschema_rs.Validator) -> None:
        self._validator = validator

    def problem_of(self, value: object) -> tuple[str, str] | None:
        """The first thing that is wrong: the dotted path of the value, and what it is."""
        try:
            problems = self._validator.iter_errors(value)
            problem = next((each for each in problems if _is_certain(each)), None)
        except ValueError:  # A value that is no JSON; the server is to say so.
            return None
        if problem is None:
            return None
        kind: Any = problem.kind
        if kind.name == "required" and not problem.instance_path:
            return kind.property, "is missing"
        path = ".".join(str(part) for part in problem.instance_path)
        return path, f"does not fit: {problem.message}"


def _is_certain(problem: jsonschema_rs.ValidationError) -> bool:
    """Whether a value does not fit; a pattern may have been too much to try, which says nothing."""
    return not problem.message.startswith("Error executing regex")
