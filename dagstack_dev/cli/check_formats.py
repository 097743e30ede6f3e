"""What `dagstack-dev check` prints: for people, for programs, for GitHub, for viewers of SARIF."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

import click
from rich.text import Text

from dagstack_dev._version import __version__
from dagstack_dev.cli.excerpts import excerpt
from dagstack_dev.cli.output import printable, printable_json
from dagstack_dev.cli.screen import Screen
from dagstack_dev.cli.wording import short
from dagstack_dev.core.wording import counted
from dagstack_dev.static.findings import Severity

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from dagstack_dev.static.findings import Finding

_COLOURS: Final = {Severity.ERROR: "bold red", Severity.WARNING: "bold yellow"}

_GITHUB: Final = str.maketrans({"%": "%25", "\r": "%0D", "\n": "%0A"})

_GITHUB_FIELD: Final = _GITHUB | str.maketrans({":": "%3A", ",": "%2C"})


def as_text(found: Sequence[Finding], plugins: int) -> None:
    """Print a line for each finding, in a terminal with the line that it is about."""
    screen = Screen(soft_wrap=True)
    for each in found:
        rule = each.rule
        mark = "warning " if rule.severity is Severity.WARNING else ""
        code = (f"{mark}{rule.code}", _COLOURS[rule.severity])
        screen.print(Text.assemble((_place(each), "bold"), ": ", code, f" {short(each.words)}"))
        if screen.is_terminal and each.line is not None:
            for line in excerpt(each.path, each.line):
                screen.print(line)
    checked = f"{counted(plugins, 'plugin')} checked"
    severities = Counter(each.rule.severity for each in found)
    counts = [counted(number, severity) for severity, number in sorted(severities.items())]
    screen.print(f"{checked}, {', '.join(counts) or 'nothing found'}")


def as_json(found: Sequence[Finding], plugins: int) -> None:
    """Print one document; docs/checks.md lists its fields."""
    _print_json(
        {
            "plugins": plugins,
            "findings": [
                {
                    "code": each.rule.code,
                    "name": each.rule.name,
                    "severity": each.rule.severity,
                    "path": short(each.path),
                    "line": each.line,
                    "column": each.column,
                    "message": short(each.message),
                    "fix": short(each.fix) or each.rule.fix,
                    "plugin": None if each.ref is None else str(each.ref),
                }
                for each in found
            ],
        }
    )


def as_github(found: Sequence[Finding], plugins: int) -> None:
    """Print commands of GitHub Actions, which shows each finding at its line of the change."""
    del plugins
    for each in found:
        fields = {
            "file": short(each.path),
            "line": each.line,
            "col": each.column,
            "title": f"{each.rule.code} {each.rule.name}",
        }
        said = ",".join(
            f"{key}={str(value).translate(_GITHUB_FIELD)}"
            for key, value in fields.items()
            if value is not None
        )
        words = short(each.words).translate(_GITHUB)
        click.echo(printable(f"::{each.rule.severity} {said}::{words}"))


def as_sarif(found: Sequence[Finding], plugins: int) -> None:
    """Print a log of the Static Analysis Results Interchange Format 2.1.0."""
    del plugins
    rules = sorted({each.rule for each in found})
    driver = {
        "name": "dagstack-dev",
        "version": __version__,
        "rules": [
            {
                "id": rule.code,
                "name": rule.name,
                "shortDescription": {"text": rule.name.replace("-", " ")},
                "help": {"text": rule.fix},
                "defaultConfiguration": {"level": rule.severity},
            }
            for rule in rules
        ],
    }
    results = [
        {
            "ruleId": each.rule.code,
            "ruleIndex": rules.index(each.rule),
            "level": each.rule.severity,
            "message": {"text": short(each.words)},
            "locations": [{"physicalLocation": _location(each)}],
        }
        for each in found
    ]
    run = {"tool": {"driver": driver}, "columnKind": "unicodeCodePoints", "results": results}
    schema = "https://json.schemastore.org/sarif-2.1.0.json"
    _print_json({"$schema": schema, "version": "2.1.0", "runs": [run]})


def _location(finding: Finding) -> Mapping[str, Any]:
    path = short(finding.path)
    uri = f"{'file://' if path.startswith('/') else ''}{quote(path)}"
    region = {"startLine": finding.line, "startColumn": finding.column}
    known = {key: value for key, value in region.items() if value is not None}
    return {"artifactLocation": {"uri": uri}} | ({"region": known} if known else {})


def _place(finding: Finding) -> str:
    """Return where a finding is: `plugins/a/plugin.py:3:5`, as far as it is known."""
    place = short(finding.path)
    for number in (finding.line, finding.column):
        if number is None:
            break
        place = f"{place}:{number}"
    return place


def _print_json(document: object) -> None:
    click.echo(printable_json(json.dumps(document, indent=2, ensure_ascii=False)))


FORMATS: Final[Mapping[str, Callable[[Sequence[Finding], int], None]]] = {
    "text": as_text,
    "json": as_json,
    "github": as_github,
    "sarif": as_sarif,
}
"""By the name that `--format` takes."""
