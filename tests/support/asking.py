"""Commands that ask a running `dagstack-dev watch`."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from command_runs import CHECKOUT, GUARD_SECONDS, inherited

QUIET_START = {"PYTHONDONTWRITEBYTECODE": "1"}
"""What a server runs with whose `status` is to be that of rest: it looks at what it writes, too."""


@dataclass
class Asking:
    """Runs commands in one folder.

    Attributes:
        folder: where they run.
        variables: of the environment, besides those of the test run.
        prefix: what starts them, such as `humble()`.
    """

    folder: Path
    variables: Mapping[str, str] = field(default_factory=dict)
    prefix: tuple[str, ...] = ()

    def run(
        self, *arguments: str | Path, timeout: float = GUARD_SECONDS
    ) -> subprocess.CompletedProcess[str]:
        """Run one command to its end."""
        return subprocess.run(
            [*self.prefix, sys.executable, "-m", "dagstack_dev", *map(str, arguments)],
            cwd=self.folder,
            env=inherited() | CHECKOUT | dict(self.variables),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    def json(self, *arguments: str | Path, code: int | None = 0) -> Any:
        """Run one command with `--json`; what it prints. With None, any exit code will do."""
        done = self.run(*arguments, "--json")
        assert code is None or done.returncode == code, done.stdout + done.stderr
        return json.loads(done.stdout)
