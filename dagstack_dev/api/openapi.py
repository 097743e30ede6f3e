"""The OpenAPI document of the API, made from the table of its routes."""

from __future__ import annotations

import re
from typing import Any, Final

from pydantic.json_schema import models_json_schema

from dagstack_dev.api.models.base import Problem
from dagstack_dev.api.problems import BAD_REQUEST, DEFECT, ENDING
from dagstack_dev.api.routes import ENDPOINTS, Endpoint

_REF: Final = "#/components/schemas/{model}"

_TYPES: Final = {int: "integer", str: "string", bool: "boolean"}


def openapi_document(version: str) -> dict[str, Any]:
    """Return the document.

    Args:
        version: of this package.
    """
    models = {each.answer for each in ENDPOINTS} | {Problem}
    bodies = {each.body for each in ENDPOINTS if each.body is not None}
    _, schemas = models_json_schema(
        [
            *((model, "serialization") for model in sorted(models, key=lambda each: each.__name__)),
            *((model, "validation") for model in sorted(bodies, key=lambda each: each.__name__)),
        ],
        ref_template=_REF,
    )
    paths: dict[str, dict[str, Any]] = {}
    for endpoint in ENDPOINTS:
        paths.setdefault(endpoint.path, {})[endpoint.method.lower()] = _operation(endpoint)
    return {
        "openapi": "3.1.0",
        "info": {"title": "dagstack-dev", "version": version},
        "paths": paths,
        "components": {"schemas": schemas["$defs"]},
    }


def _operation(endpoint: Endpoint) -> dict[str, Any]:
    media = "text/event-stream" if endpoint.streams else "application/json"
    schema = {"$ref": _REF.format(model=endpoint.answer.__name__)}
    content = {media: {"schema": {"type": "string"} if endpoint.streams else schema}}
    answers: dict[str, Any] = {"200": {"description": endpoint.summary, "content": content}}
    for status, kinds in _by_status(endpoint).items():
        answers[str(status)] = {
            "description": "; ".join(each.title for each in kinds),
            "content": {
                "application/problem+json": {"schema": {"$ref": _REF.format(model="Problem")}}
            },
        }
    operation: dict[str, Any] = {
        "operationId": endpoint.name,
        "summary": endpoint.summary,
        "parameters": [
            {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
            for name in re.findall(r"{(\w+)}", endpoint.path)
        ]
        + [
            {
                "name": each.name,
                "in": "query",
                "description": each.description,
                "schema": {"type": _TYPES[type(each.default)]},
            }
            for each in endpoint.query
        ],
        "responses": answers,
    }
    if endpoint.body is not None:
        schema = {"$ref": _REF.format(model=endpoint.body.__name__)}
        operation["requestBody"] = {"content": {"application/json": {"schema": schema}}}
    return operation


def _by_status(endpoint: Endpoint) -> dict[int, list[Any]]:
    """Return what may be in the way, by status."""
    found: dict[int, list[Any]] = {}
    for kind in (BAD_REQUEST, ENDING, DEFECT, *endpoint.problems):
        found.setdefault(kind.status, []).append(kind)
    return found
