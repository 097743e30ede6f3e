"""docs/page.md is true: its commands do what they say, and its refusals are those of the guard."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from pathlib import Path

from asking import Asking
from command_runs import Watching
from trees import PluginTree

from dagstack_dev.api.problems import Kind
from dagstack_dev.page import guard

PAGE = (Path(__file__).parents[2] / "docs" / "page.md").read_text(encoding="utf-8")


def test_the_commands_print_the_address(
    tree: PluginTree, tmp_path: Path, sockets: Path, watch: Callable[..., Watching]
) -> None:
    tree.plugin("one")
    (shown,) = re.findall(r"```bash\n(.*?)```", PAGE, re.DOTALL)
    serve, ask = (shlex.split(line, comments=True)[1:] for line in shown.splitlines())
    run = watch(*serve[1:], command=serve[0], columns=100)
    address = run.line("page  http").split()[-1]
    asked = Asking(tmp_path, {"PATH": str(tmp_path)}).run(*ask)  # Nothing is there to open it.
    assert asked.stdout == f"{address}\n"
    assert run.end() == 0


def test_what_refuses_is_in_the_table() -> None:
    rows = re.findall(r"^\| (\d+) \| `([a-z-]+)` \|", PAGE, re.MULTILINE)
    kinds = {each for each in vars(guard).values() if type(each) is Kind}
    assert {(str(each.status), each.name) for each in kinds} == {*rows}
