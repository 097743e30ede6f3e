"""docs/api.md names every endpoint, field and problem, and its examples do what they say."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from asking import QUIET_START
from command_runs import CHECKOUT, GUARD_SECONDS, Watching

from dagstack_dev.api import problems
from dagstack_dev.api.models.base import AccountPart, Model, Problem
from dagstack_dev.api.models.plugins import ReceiptReport
from dagstack_dev.api.routes import ENDPOINTS, Endpoint

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/api.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^### (\w+ /api\S+)\n(.*?)(?=^##)", PAGE, re.DOTALL | re.MULTILINE))
SHOWN = re.compile(r"```(?:toml|python)\n# (plugins/\S+)\n(.*?)```", re.DOTALL)
JQ = f"#!{sys.executable}\nimport json, sys\nprint(json.load(sys.stdin)[sys.argv[2][1:]])\n"
COMMAND = f'#!/bin/sh\nexec {sys.executable} -m dagstack_dev "$@"\n'


def named(text: str) -> set[str]:
    """What stands in backticks."""
    return {
        word for each in re.findall(r"`([^`\n]+)`", text) for word in re.findall(r"[\w-]+", each)
    }


def models(model: type[Model]) -> set[type[Model]]:
    """A model and those of its fields."""
    schema = json.dumps(model.model_json_schema())
    return {each for each in Model.__subclasses__() if f'"#/$defs/{each.__name__}"' in schema} | {
        model
    }


def test_each_endpoint_has_its_section_and_nothing_else_has() -> None:
    assert list(SECTIONS) != []
    assert {*SECTIONS} == {f"{each.method} {each.path}" for each in ENDPOINTS}


@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda each: each.name)
def test_each_section_names_parameters_fields_and_problems(endpoint: Endpoint) -> None:
    words = named(SECTIONS[f"{endpoint.method} {endpoint.path}"])
    missing = {each.name for each in endpoint.query} - words
    if endpoint.body is not None:
        missing |= endpoint.body.model_fields.keys() - words
    missing |= {each.name for each in endpoint.problems} - words
    assert endpoint.answer.__name__ in words
    assert not missing


def test_each_field_of_an_answer_is_named() -> None:
    fields = {
        name
        for endpoint in ENDPOINTS
        for model in models(endpoint.answer)
        for name in model.model_fields
    }
    assert not fields - named(PAGE)


def test_each_problem_has_its_row() -> None:
    kinds = {each for each in vars(problems).values() if isinstance(each, problems.Kind)}
    rows = dict(re.findall(r"^\| `([a-z-]+)` \| (\d+) \|", PAGE, re.MULTILINE))
    assert {each.name: str(each.status) for each in kinds} | {"refused": "405"} == rows


def test_what_is_shown_as_json_is_what_is_answered() -> None:
    receipt, account, problem = re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)
    assert json.loads(receipt).keys() == ReceiptReport.model_validate_json(receipt).model_fields_set
    for part in json.loads(account):
        assert AccountPart.model_validate(part).model_dump(mode="json") == part
    shown = Problem.model_validate_json(problem)
    assert (shown.type, shown.title, shown.status) == problems.NO_SUCH_PLUGIN


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not there")
def test_the_examples_run(tmp_path: Path, watch: Callable[..., Watching]) -> None:
    for name, text in SHOWN.findall((ROOT / "README.md").read_text(encoding="utf-8")):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    for name, text in (("jq", JQ), ("dagstack-dev", COMMAND)):
        path = tmp_path / "bin" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        path.chmod(0o755)
    run = watch("plugins", "--log-format", "json", environment=QUIET_START)
    run.event("watch.started")
    script = "\n".join(re.findall(r"```bash\n(.*?)```", PAGE, re.DOTALL))
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=tmp_path,
        env=os.environ | CHECKOUT | {"PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=GUARD_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count('"is_current":true') >= 5
    assert '"result":"Hello, world!"' in done.stdout
    assert ": connected\nid: " in done.stdout
    assert '"event":"plugin.ready"' in done.stdout
