"""The JSON Schema of `dagstack.toml`, for editors: made from the model, with words for people."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from pydantic.json_schema import GenerateJsonSchema

from dagstack_dev.core.manifest.fields import PluginManifest

if TYPE_CHECKING:
    from pydantic_core import core_schema

# What each field is for, and examples of what may stand there. Not in the models: every start of
# a server would take a fifth longer to import them.
_WORDS: Final[dict[str, dict[str, tuple[Any, ...]]]] = {
    "ResourcesSpec": {
        "required": ("The plugin is not set up without them.", ["clock"]),
        "optional": ("Injected where the host has them.", ["http_client"]),
    },
    "Supports": {
        "languages": ("As supports_languages.", ["python"]),
        "extensions": ("As supports_extensions.", [".py"]),
        "mime_types": ("As supports_mime_types.", ["text/html"]),
    },
    "UnitOfWorkSpec": {
        "declared": ("Whether the plugin's work comes in units.", True),
        "checkpointable": ("Whether a unit can be resumed.", True),
        "partition_key": ("Units with the same one run one after the other.", "doc_id"),
        "estimated_duration_sec": ("How long one unit takes, in seconds.", 120),
        "idempotency_mode": ("What makes two units the same one.", "input_hash"),
        "content_hash": ("A digest of the unit.", "sha256:9f86d0"),
    },
    "PluginManifest": {
        "name": ("How the plugin is called; unique within its kind.", "greeter"),
        "kind": ("What the plugin is for, in a word.", "tool", "llm"),
        "core_version": ("The versions of the core it works with, as in PEP 440.", ">=0.1,<1"),
        "runtime": ("How it runs; of several, the first that the host supports.", "in_process"),
        "entry_point": (
            "Its class, as module:Class. The module is a file in its folder.",
            "plugin:Greeter",
        ),
        "schema_version": ("The version of this schema.", "1"),
        "kind_api_version": ("The major version of the kind's hooks that it has.", "1"),
        "priority": ("The highest comes first, in dispatch and at setup.", 10),
        "depends_on": (
            "The plugins that are set up before it. A table where a name alone is ambiguous.",
            ["store", {"kind": "llm", "name": "openai"}],
        ),
        "tryfirst": ("Whether it comes before all others of a chain.", True),
        "trylast": ("Whether it comes after all others of a chain.", True),
        "startup_timeout_sec": ("How long its setup may take, in seconds.", 60),
        "teardown_timeout_sec": ("How long its teardown may take, in seconds.", 5),
        "capabilities": ("Free tags, for audits.", ["network"]),
        "supports_languages": ("The languages of the inputs that it takes.", ["python", "rust"]),
        "supports_extensions": (
            "The file names' ends of the inputs that it takes.",
            [".py", ".rs"],
        ),
        "supports_mime_types": ("The MIME types of the inputs that it takes.", ["text/html"]),
        "supports": ("Another spelling of supports_*.", {"languages": ["python"]}),
        "fallback": ("Whether it gets what no other plugin takes; one in a kind.", True),
        "execution_model": ("Where its methods run.", "thread_cpu_bound"),
        "in_process_only": ("Whether it never runs in another runtime than in_process.", True),
        "resources": ("What the host injects.", {"required": ["clock"]}),
        "unit_of_work": ("How its work comes in units.", {"declared": True}),
        "config_schema": (
            "A JSON Schema of its section in the configuration, or a file with it.",
            "config.schema.json",
            {"required": ["key"]},
        ),
        "license": ("Its licence, for people.", "Apache-2.0"),
        "maintainer": ("Who looks after it, for people.", "Ada <ada@example.org>"),
        "homepage": ("Where there is more about it, for people.", "https://example.org/greeter"),
        "health_check": ("The method or tool that checks its health.", "health"),
        "version": ("Its own version, for people.", "1.2.0"),
        "description": ("What it does, for people.", "Greets by name."),
        "authors": ("Who has written it, for people.", ["Ada"]),
        "ignore": (
            "Files in its folder that are no source of it, as in a .gitignore.",
            ["data/", "*.csv", "!words.csv"],
        ),
        "command": ("How its process is started, for mcp_stdio.", ["node", "server.mjs"]),
        "env": ("Variables for its process, for mcp_stdio.", {"LOG": "debug"}),
        "endpoint": ("Where its server is, for mcp_http.", "http://localhost:8000/mcp"),
        "url": ("As endpoint.", "http://localhost:8000/mcp"),
        "auth": ("What its server wants to see, for mcp_http.", {"token": "..."}),
        "mcp_stdio": ("How its process is started.", {"command": ["node", "server.mjs"]}),
        "mcp_http": ("How its server is reached.", {"url": "http://localhost:8000/mcp"}),
        "metadata": ("The author's own, of any content.", {"team": "platform"}),
    },
    "McpStdio": {
        "command": ("The program and its arguments.", ["node", "server.mjs"], "python server.py"),
        "working_dir": ("Where it runs; by default in the plugin's folder.", "server"),
        "env": ("Variables for it.", {"LOG": "debug"}),
        "startup_timeout_sec": ("How long a setup may take, in seconds.", 60),
        "timeout_sec": ("How long one call may take, in seconds.", 120),
    },
    "McpHttp": {
        "url": ("Where it is.", "http://localhost:8000/mcp"),
        "auth_header": ("The header that carries the secret.", "X-Api-Key"),
        "auth_secret_env": ("The environment variable that holds the secret.", "WEATHER_TOKEN"),
        "timeout_sec": ("How long one call may take, in seconds.", 120),
        "tls_ca_bundle": ("A file with the certificates to trust.", "certificates.pem"),
        "tls_verify": ("Whether its certificate is checked.", False),
    },
}

_TEXT: Final = {"type": "string"}
_TEXTS: Final = {"type": "array", "items": _TEXT}


def _table(required: list[str], **properties: tuple[str, str]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {
            key: {**_TEXT, "description": description, "examples": [example]}
            for key, (description, example) in properties.items()
        },
        "required": required,
        "additionalProperties": False,
    }


_SHAPES: Final[dict[str, Any]] = {
    "schema_version": {"const": "1"},
    "runtime": {
        "anyOf": [
            {"enum": ["in_process", "mcp_stdio", "mcp_http"]},  # An editor completes these.
            _TEXT,
            {**_TEXTS, "minItems": 1},
        ]
    },
    "depends_on": {
        "type": "array",
        "items": {
            "anyOf": [
                _TEXT,
                _table(["kind", "name"], kind=("Its kind.", "llm"), name=("Its name.", "openai")),
            ]
        },
    },
    "command": {"anyOf": [_TEXT, _TEXTS]},
    "env": {
        "type": "object",
        "additionalProperties": _TEXT,
        "propertyNames": {"pattern": "^[^=]+$"},
    },
    "auth": _table([], token=("Sent as a bearer token.", "...")),
}
"""What a field takes, where its validator takes more or less than its type says."""


def _runs(name: str) -> dict[str, Any]:
    runtime = {"anyOf": [{"const": name}, {"type": "array", "contains": {"const": name}}]}
    return {"properties": {"runtime": runtime}, "required": ["runtime"]}


def _any_of(*places: str) -> dict[str, Any]:
    """Say that one of some fields is there, dotted where it stands in a table."""
    written = []
    for place in places:
        table, _, key = place.rpartition(".")
        there = {"required": [key]}
        written.append({"properties": {table: there}, "required": [table]} if table else there)
    return {"anyOf": written}


_ENTRY_POINT: Final = r"^[^\s:/.]+(\.[^\s:/.]+)*:[^\s:/.]+$"

_TOGETHER: Final[list[dict[str, Any]]] = [
    {
        "if": _runs("in_process"),
        "then": {
            "properties": {"entry_point": {"pattern": _ENTRY_POINT}},
            "required": ["entry_point"],
        },
    },
    {"if": _runs("mcp_stdio"), "then": _any_of("command", "mcp_stdio.command", "entry_point")},
    {"if": _runs("mcp_http"), "then": _any_of("endpoint", "url", "mcp_http.url")},
    {"if": _any_of("endpoint", "url"), "then": _runs("mcp_http")},
    {
        "not": {
            "properties": {"tryfirst": {"const": True}, "trylast": {"const": True}},
            "required": ["tryfirst", "trylast"],
        }
    },
]
"""What fields say together."""


class _InToml(GenerateJsonSchema):
    """Without titles, which repeat names, and without null, which TOML does not have."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        """Set none."""
        del schema
        return False

    def nullable_schema(self, schema: core_schema.NullableSchema) -> dict[str, Any]:
        """Return that of what is not null."""
        return self.generate_inner(schema["schema"])


def manifest_schema() -> dict[str, Any]:
    """Return the JSON Schema of a file `dagstack.toml`.

    All that a server accepts is valid by it. It cannot say everything that a server refuses: which
    texts are a version range or a URL, and which fields differ.
    """
    manifest = PluginManifest.model_json_schema(schema_generator=_InToml)
    tables = {**manifest.pop("$defs"), "PluginManifest": {**manifest, "allOf": _TOGETHER}}
    del tables["PluginRef"]
    for table, words in _WORDS.items():
        del tables[table]["description"]
        properties = tables[table]["properties"]
        for field, (description, *examples) in words.items():
            default = properties[field].pop("default", None)
            properties[field] = {
                "description": description,
                **_SHAPES.get(field, properties[field]),
                **({"default": default} if isinstance(default, str | int) else {}),
                "examples": examples,
            }
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "dagstack.toml",
        "description": "The manifest of a dagstack plugin.",
        "type": "object",
        "properties": {"plugin": {"$ref": "#/$defs/PluginManifest"}},
        # The fields may stand at the top level as well.
        "if": {"not": {"required": ["plugin"]}},
        "then": {"$ref": "#/$defs/PluginManifest"},
        "$defs": tables,
    }


def schema_text() -> str:
    """Return the schema as `dagstack-dev schema` prints it."""
    return json.dumps(manifest_schema(), indent=2, ensure_ascii=False) + "\n"
