"""What docs/cli.md shows of `graph` is what the command prints."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from asking import Asking

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
RUNS = re.findall(r"```\n\$ dagstack-dev (graph .*)\n((?:.*\n)+?)```", PAGE)
(MERMAID,) = re.findall(r"```mermaid\n(.*?)```", PAGE, re.DOTALL)
PICTURE = (
    "graph playground/plugins --around theme --format mermaid "
    "--reload playground/plugins/theme/plugin.py"
)


@pytest.mark.parametrize(("command", "printed"), [*RUNS, (PICTURE, MERMAID)])
def test_the_command_prints_it(command: str, printed: str) -> None:
    assert Asking(ROOT).run(*command.split()).stdout == printed
