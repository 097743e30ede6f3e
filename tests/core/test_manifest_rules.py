"""Rules between the fields of a manifest, other spellings of them, and fields that are refused."""

from __future__ import annotations

from typing import Any

import pytest

from dagstack_dev.core.errors.files import ManifestInvalid
from dagstack_dev.core.manifest.fields import PluginManifest
from dagstack_dev.core.manifest.parsing import load_manifest_from_dict

FIELDS: dict[str, Any] = {
    "name": "greeter",
    "kind": "tool",
    "core_version": ">=0.1",
    "runtime": "in_process",
    "entry_point": "plugin:Greeter",
}


def load(**fields: Any) -> PluginManifest:
    return load_manifest_from_dict(FIELDS | fields, "here")


def problem(**fields: Any) -> str:
    """What is said of the one problem that these fields make."""
    with pytest.raises(ManifestInvalid) as caught:
        load(**fields)
    (found,) = caught.value.problems
    return f"{found.field}: {found.message}"


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("^0.2", ">=0.2,<0.3"),
        ("^1.2.3", ">=1.2.3,<2"),
        ("^0.0.3", ">=0.0.3,<0.0.4"),
        ("^1", ">=1,<2"),
        ("~0.2", ">=0.2,<0.3"),
        ("~1.2.3", ">=1.2.3,<1.3"),
        ("~1", ">=1,<2"),
        ("1.x", "==1.*"),
        ("1.2.*", "==1.2.*"),
        ("0.1", ">=0.1,<1"),
        ("0.1.0", ">=0.1,<1"),
        ("=0.1.0", ">=0.1,<1"),
        ("v1.2.3", ">=1.2,<2"),
        (">=0.1 <1", ">=0.1,<1"),
    ],
)
def test_a_version_range_of_another_ecosystem_is_answered_in_pep_440(
    written: str, meant: str
) -> None:
    assert problem(core_version=written) == (
        f'core_version: {written!r} is not a PEP 440 specifier; write "{meant}"'
    )
    assert load(core_version=meant).core_version == meant


@pytest.mark.parametrize("written", ["^0.2 || ^0.3", "latest", "> = 1"])
def test_a_version_range_that_is_not_understood_gets_an_example(written: str) -> None:
    assert problem(core_version=written).endswith('write for example ">=0.1,<1"')


@pytest.mark.parametrize("runtime", ["in_process", ["in_process"], ["mcp_stdio", "in_process"]])
def test_a_plugin_for_this_process_only_never_runs_elsewhere(runtime: Any) -> None:
    command = {"command": ["serve"]} if "mcp_stdio" in runtime else {}
    manifest = load(runtime=runtime, in_process_only=True, **command)
    assert manifest.possible_runtimes == ("in_process",)


def test_a_plugin_for_this_process_only_needs_that_runtime() -> None:
    found = problem(runtime="mcp_stdio", command=["serve"], in_process_only=True)
    assert found == (
        'in_process_only: contradicts runtime, which leaves out "in_process"; add it there or '
        "remove this"
    )


def test_what_a_plugin_supports_may_stand_in_a_table() -> None:
    table = {"languages": ["python"], "extensions": [".py"], "mime_types": ["text/plain"]}
    manifest = load(supports=table)
    assert manifest.supports_languages == ("python",)
    assert manifest.supports_extensions == (".py",)
    assert manifest.supports_mime_types == ("text/plain",)
    assert load(supports=table, supports_languages=["python"]).supports_languages == ("python",)
    both = load(supports={"languages": ["python"]}, supports_extensions=[".py"])
    assert (both.supports_languages, both.supports_extensions) == (("python",), (".py",))


def test_what_a_plugin_supports_is_said_once() -> None:
    found = problem(supports={"languages": ["go"]}, supports_languages=["python"])
    assert found == "supports.languages: differs from supports_languages; keep one of them"
    assert problem(supports={"languages": "go"}).startswith("supports.languages: ")
    found = problem(supports={"language": ["go"]})
    assert found == "supports.language: unknown key; did you mean 'languages'?"


@pytest.mark.parametrize("priority", [0, 100, 101, 1000, 10**6])
def test_any_priority_from_0_is_taken(priority: int) -> None:
    assert load(priority=priority).priority == priority


@pytest.mark.parametrize(
    ("field", "value", "advice"),
    [
        ("chain_wrap", {"hooks": ["*"]}, "priority of 1000 or more"),
        ("timeout_seconds", 5, "startup_timeout_sec"),
        ("retry", {"attempts": 3}, "its caller"),
        ("circuit_breaker", {}, "their caller"),
        ("dagstack_version", ">=0.1", "write core_version"),
    ],
)
def test_fields_without_effect_are_refused_with_what_to_do(
    field: str, value: object, advice: str
) -> None:
    found = problem(**{field: value})
    assert found.startswith(f"{field}: is not supported; ")
    assert advice in found


def test_a_manifest_that_is_no_mapping_is_reported_with_its_source() -> None:
    with pytest.raises(ManifestInvalid, match=r"^here: must be a mapping of fields, not list$"):
        load_manifest_from_dict([], "here")
    with pytest.raises(ManifestInvalid) as caught:
        load_manifest_from_dict({})
    assert caught.value.path == "<dict>"


def test_metadata_has_to_be_a_table() -> None:
    assert problem(metadata="free").startswith("metadata: should be a valid dictionary")


@pytest.mark.parametrize(
    ("field", "problem"),
    [("metadata", "is nested too deeply"), ("priority", "priority: should be")],
)
def test_a_value_that_is_nested_too_deeply_is_a_problem_and_no_crash(
    field: str, problem: str
) -> None:
    deep: dict[str, Any] = {}
    for _ in range(50_000):  # More than can be copied, and than can be shown.
        deep = {"more": deep}
    with pytest.raises(ManifestInvalid, match=f"^here: {problem}"):
        load(**{field: deep})


def test_a_key_that_is_no_string_is_reported() -> None:
    fields: dict[Any, Any] = {**FIELDS, 1: "one"}
    with pytest.raises(ManifestInvalid, match=r"^here: the key 1 is no string$"):
        load_manifest_from_dict(fields, "here")
