"""docs/checks.md has a section for every rule, whose example prints what the section says."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path

import pytest
from asking import Asking
from command_runs import humble

from dagstack_dev.cli.check_formats import FORMATS
from dagstack_dev.static.findings import RULES

PAGE = (Path(__file__).parents[2] / "docs" / "checks.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^### (D\d+ \S+)\n(.*?)(?=^##|\Z)", PAGE, re.DOTALL | re.MULTILINE))
BASE = PAGE.partition("## Options")[0]


def write(folder: Path, text: str) -> None:
    """Do what the blocks of a text say: whole files, lines in files, commands."""
    for language, block in re.findall(r"^```(\w+)\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
        first, _, rest = block.partition("\n")
        if language == "bash":
            subprocess.run(["bash", "-ec", block], cwd=folder, check=True)
        elif language != "text":
            inside, path = re.fullmatch(r"(?:#|//) (in )?(\S+)", first).groups()  # type: ignore[union-attr]
            file = folder / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(_with_lines(file.read_text(), rest) if inside else rest)


def _with_lines(text: str, lines: str) -> str:
    """Return a manifest with further fields, in the place of those of the same name."""
    fields = {line.partition(" = ")[0]: line for line in (text + lines).splitlines()}
    return "".join(f"{line}\n" for line in fields.values())


def test_the_page_has_a_section_for_every_rule_in_order() -> None:
    assert list(SECTIONS) == [f"{rule.code} {rule.name}" for rule in sorted(RULES)]


def test_the_page_names_every_format() -> None:
    assert re.findall(r"^- \*\*`(\w+)`\*\*", PAGE, re.MULTILINE) == list(FORMATS)


def test_nothing_is_found_in_the_files_that_the_examples_change(tmp_path: Path) -> None:
    write(tmp_path, BASE)
    assert Asking(tmp_path).run("check", "plugins/").stdout == "1 plugin checked, nothing found\n"


@pytest.mark.parametrize("section", SECTIONS)
def test_an_example_prints_what_the_page_shows(section: str, tmp_path: Path) -> None:
    text = SECTIONS[section]
    ((command, printed),) = re.findall(
        r"^```text\n\$ (.*?)\n(.*?)^```", text, re.DOTALL | re.MULTILINE
    )
    write(tmp_path, BASE + text)
    prefix = humble() if "chmod" in text else ()
    done = Asking(tmp_path, prefix=prefix).run(*shlex.split(command)[1:])
    assert "".join(done.stdout.splitlines(keepends=True)[:-1]) == printed
    rules = {rule.code: rule for rule in RULES}
    shown = [rules[code].severity for code in re.findall(r": (?:warning )?(D\d+) ", printed)]
    assert section.partition(" ")[0] in printed
    assert done.returncode == ("error" in shown)
    assert ("A warning." in text) is (rules[section[:4]].severity == "warning")
