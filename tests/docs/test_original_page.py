"""The example of docs/original.md runs."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from command_runs import CHECKOUT, GUARD_SECONDS
from trees import PluginTree

PAGE = (Path(__file__).parents[2] / "docs" / "original.md").read_text(encoding="utf-8")
GREETER = "class Plugin:\n    def greet(self, name):\n        return f'Hello, {name}!'\n"


def test_the_app_greets(tree: PluginTree) -> None:
    tree.plugin("greeter", kind="tool", code=GREETER)
    (code,) = re.findall(r"```python\n# app\.py\n(.*?)```", PAGE, re.DOTALL)
    (tree.root.parent / "app.py").write_text(code, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-W", "error", "app.py"],
        cwd=tree.root.parent,
        env=os.environ | CHECKOUT,
        capture_output=True,
        text=True,
        timeout=GUARD_SECONDS,
        check=False,
    )
    assert "Hello, world!" in done.stdout.splitlines(), done.stderr
