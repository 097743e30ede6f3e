"""The examples of docs/testing.md run, in a pytest of their own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from command_runs import CHECKOUT, GUARD_SECONDS
from trees import PluginTree

from dagstack_dev import ALL_CHECKS
from dagstack_dev.testing.folders import check_folders

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGE = (ROOT / "docs" / "testing.md").read_text(encoding="utf-8")
BLOCKS = dict(re.findall(r"```python\n# (test_\w+\.py)\n(.*?)```", PAGE, re.DOTALL))


def test_every_example_passes(tmp_path: Path) -> None:
    for name, code in BLOCKS.items():
        (tmp_path / name).write_text(code, encoding="utf-8")
    (tmp_path / "pytest.ini").write_text("[pytest]\nasyncio_mode = auto\n", encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"],
        cwd=tmp_path,
        env=os.environ | CHECKOUT,
        capture_output=True,
        text=True,
        timeout=GUARD_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert "3 passed" in done.stdout


async def test_the_plugins_of_the_readme_pass_with_the_tests_shown_here(tree: PluginTree) -> None:
    for page in (README, PAGE):
        for path, text in re.findall(r"```\w+\n# plugins/(\S+)\n(.*?)```", page, re.DOTALL):
            tree.write(path, text)
    reports = [each async for each in check_folders([tree.root])]
    assert all(each.passed for each in reports), reports
    [run] = [each.tests for each in reports if each.tests]
    assert run.summary.startswith("1 passed")
    [samples] = tree.root.rglob("contract.toml")
    assert samples.is_relative_to(tree.root / "greeter")


def test_every_check_has_its_row() -> None:
    rows = set(re.findall(r"^\| `(\w+)` \|", PAGE, re.MULTILINE))
    assert rows >= ALL_CHECKS
