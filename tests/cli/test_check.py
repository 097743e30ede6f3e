"""What `dagstack-dev check` prints in each format, and its exit codes."""

from __future__ import annotations

import json
import re
import shlex
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
import yaml
from asking import Asking
from command_runs import Watching
from trees import PluginTree

ROOT = Path(__file__).parents[2]

SARIF: dict[str, Any] = {
    "type": "object",
    "required": ["version", "runs"],
    "properties": {
        "$schema": {"type": "string"},
        "version": {"const": "2.1.0"},
        "runs": {"type": "array", "minItems": 1, "items": {"$ref": "#/$defs/run"}},
    },
    "additionalProperties": False,
    "$defs": {
        "text": {
            "type": "object",
            "required": ["text"],
            "properties": {"text": {"type": "string", "minLength": 1}},
            "additionalProperties": False,
        },
        "level": {"enum": ["none", "note", "warning", "error"]},
        "run": {
            "type": "object",
            "required": ["tool", "results"],
            "properties": {
                "columnKind": {"enum": ["utf16CodeUnits", "unicodeCodePoints"]},
                "tool": {
                    "type": "object",
                    "required": ["driver"],
                    "properties": {"driver": {"$ref": "#/$defs/driver"}},
                    "additionalProperties": False,
                },
                "results": {"type": "array", "items": {"$ref": "#/$defs/result"}},
            },
            "additionalProperties": False,
        },
        "driver": {
            "type": "object",
            "required": ["name"],
            "properties": {
                "name": {"type": "string"},
                "version": {"type": "string"},
                "rules": {
                    "type": "array",
                    "uniqueItems": True,
                    "items": {
                        "type": "object",
                        "required": ["id"],
                        "properties": {
                            "id": {"type": "string"},
                            "name": {"type": "string"},
                            "shortDescription": {"$ref": "#/$defs/text"},
                            "help": {"$ref": "#/$defs/text"},
                            "defaultConfiguration": {
                                "type": "object",
                                "properties": {"level": {"$ref": "#/$defs/level"}},
                                "additionalProperties": False,
                            },
                        },
                        "additionalProperties": False,
                    },
                },
            },
            "additionalProperties": False,
        },
        "result": {
            "type": "object",
            "required": ["message"],
            "properties": {
                "ruleId": {"type": "string"},
                "ruleIndex": {"type": "integer", "minimum": -1},
                "level": {"$ref": "#/$defs/level"},
                "message": {"$ref": "#/$defs/text"},
                "locations": {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "properties": {
                            "physicalLocation": {
                                "type": "object",
                                "required": ["artifactLocation"],
                                "properties": {
                                    "artifactLocation": {
                                        "type": "object",
                                        "properties": {
                                            "uri": {"type": "string", "format": "uri-reference"}
                                        },
                                        "additionalProperties": False,
                                    },
                                    "region": {
                                        "type": "object",
                                        "properties": {
                                            "startLine": {"type": "integer", "minimum": 1},
                                            "startColumn": {"type": "integer", "minimum": 1},
                                        },
                                        "additionalProperties": False,
                                    },
                                },
                                "additionalProperties": False,
                            }
                        },
                        "additionalProperties": False,
                    },
                },
            },
            "additionalProperties": False,
        },
    },
}
"""Of the schema of SARIF 2.1.0, the rules for what is written; it knows further properties."""


@pytest.fixture
def broken(tree: PluginTree) -> Asking:
    """Where plugins are checked: one with a syntax error, one with a comma in its folder's name."""
    tree.plugin("broken", code="class Plugin:\n    def (")
    tree.plugin("upper", folder="odd, 100% : é", depends_on=["lower"])
    tree.plugin("two", manifest="fallback = true\n")
    tree.write("two/package.json", '{"dagstack": {"name": "other"}}')
    return Asking(tree.root.parent)


def test_text_has_a_line_for_each_finding_and_counts_them(broken: Asking) -> None:
    done = broken.run("check", "plugins")
    assert [re.split(r"(?<= D\d{3}) ", line)[0] for line in done.stdout.splitlines()] == [
        "plugins/broken/plugin.py:2:9: D301",
        "plugins/odd, 100% : é/dagstack.toml:7: D201",
        "plugins/two/package.json: warning D109",
        "3 plugins checked, 2 errors, 1 warning",
    ]
    assert done.returncode == 1


def test_a_terminal_gets_the_line_of_the_file_too(
    tree: PluginTree, watch: Callable[..., Watching]
) -> None:
    tree.plugin("upper", depends_on=["lower"])
    run = watch("plugins", command="check", columns=120)
    run.line("plugins/upper/dagstack.toml:7: D201 ")
    run.line('❱    7  depends_on = ["lower"]')
    assert run.process.wait() == 1


def test_json_is_one_document_with_all_that_is_known(broken: Asking) -> None:
    done = broken.run("check", "plugins", "--format", "json")
    found = json.loads(done.stdout)
    assert found["plugins"] == 3
    assert found["findings"][1] == {
        "code": "D201",
        "name": "dependency-missing",
        "severity": "error",
        "path": "plugins/odd, 100% : é/dagstack.toml",
        "line": 7,
        "column": None,
        "message": "demo/upper depends on 'lower', which does not exist",
        "fix": "add it or change depends_on",
        "plugin": "demo/upper",
    }
    assert (found["findings"][0]["line"], found["findings"][0]["column"]) == (2, 9)


def test_annotations_of_github_survive_any_name(broken: Asking) -> None:
    first, second, third = broken.run("check", "plugins", "--format", "github").stdout.splitlines()
    assert first.startswith("::error file=plugins/broken/plugin.py,line=2,col=9,title=D301 ")
    assert second == (
        "::error file=plugins/odd%2C 100%25 %3A é/dagstack.toml,line=7,title=D201 "
        "dependency-missing::demo/upper depends on 'lower', which does not exist; add it or change "
        "depends_on"
    )
    assert third.startswith("::warning file=plugins/two/package.json,title=D109 manifest-ignored::")


def test_sarif_fits_the_schema_and_names_each_rule_once(broken: Asking) -> None:
    log = json.loads(broken.run("check", "plugins", "--format", "sarif").stdout)
    problems = jsonschema_rs.validator_for(SARIF, validate_formats=True).iter_errors(log)
    assert [each.message for each in problems] == []
    (run,) = log["runs"]
    rules = [rule["id"] for rule in run["tool"]["driver"]["rules"]]
    assert rules == ["D109", "D201", "D301"]
    assert [rules[each["ruleIndex"]] for each in run["results"]] == ["D301", "D201", "D109"]
    place = run["results"][1]["locations"][0]["physicalLocation"]
    folder = "odd%2C%20100%25%20%3A%20%C3%A9"
    assert place["artifactLocation"]["uri"] == f"plugins/{folder}/dagstack.toml"
    assert place["region"] == {"startLine": 7}


@pytest.mark.parametrize("form", ["json", "sarif", "github"])
def test_what_is_in_order_is_a_document_too(tree: PluginTree, form: str) -> None:
    tree.plugin("fine")
    done = Asking(tree.root.parent).run("check", "plugins", "--format", form)
    assert done.returncode == 0
    if form == "github":
        assert done.stdout == ""
    else:
        assert json.loads(done.stdout)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "name a folder with plugins"),
        (["nowhere"], "nowhere"),
        (["empty"], "no plugins below empty"),
        (["plugins", "--config", "no.toml"], "no.toml: cannot be read: No such file or directory"),
        (
            ["plugins", "--hookspecs", "no.yaml"],
            "no.yaml: cannot be read: No such file or directory",
        ),
        (["plugins", "--skip", "D999"], "--skip D999: no such code"),
        (["plugins", "--core-version", "new"], "'new' is not a PEP 440 version"),
    ],
)
def test_wrong_usage_is_a_line_and_exits_with_2(
    tree: PluginTree, arguments: list[str], said: str
) -> None:
    tree.plugin("fine")
    (tree.root.parent / "empty").mkdir()
    done = Asking(tree.root.parent).run("check", *arguments)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert said in done.stderr


def test_codes_that_are_skipped_do_not_count(broken: Asking) -> None:
    done = broken.run("check", "plugins", "--skip", "D301", "--skip", "D201")
    assert (done.returncode, done.stdout.count("\n")) == (0, 2)
    assert done.stdout.endswith("3 plugins checked, 1 warning\n")


def test_no_secret_is_printed(tree: PluginTree) -> None:
    secret = "hunter2-hunter2"
    tree.plugin("fine", manifest=f'env = {{ API_TOKEN = "{secret}", OTHER = 3 }}\n')
    done = Asking(tree.root.parent).run("check", "plugins")
    assert "D101 env" in done.stdout
    assert secret not in done.stdout


def test_the_hook_for_pre_commit_runs_the_command(tree: PluginTree) -> None:
    (hook,) = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text(encoding="utf-8"))
    assert hook["id"] in (ROOT / "docs" / "checks.md").read_text(encoding="utf-8")
    assert hook["pass_filenames"] is False
    program, *arguments = shlex.split(hook["entry"])
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert program in project["scripts"]
    tree.plugin("upper", depends_on=["lower"])
    done = Asking(tree.root.parent).run(*arguments, *hook["args"])
    assert (done.returncode, "D201" in done.stdout) == (1, True)
