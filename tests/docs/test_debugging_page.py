"""The page on debugging has a configuration that starts the server."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

from command_runs import CHECKOUT

PAGE = Path(__file__).parents[2] / "docs/debugging.md"


def test_what_the_launch_configuration_starts_is_the_command(tmp_path: Path) -> None:
    (block,) = re.findall(r"```json\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    (configuration,) = json.loads(block)["configurations"]
    assert configuration["type"] == "debugpy"
    command, folder = configuration["args"]
    run = subprocess.run(
        [sys.executable, "-m", configuration["module"], command, "--help"],
        cwd=tmp_path,
        env=CHECKOUT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "Usage" in run.stdout
    assert folder == "plugins/"
