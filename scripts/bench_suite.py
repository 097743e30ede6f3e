"""Measures how fast a change is live, beside other ways to get there.

Started by `scripts/bench`, in an environment with the group `bench`; see `--help`.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from scripts.benchlib.main import main

if __name__ == "__main__":
    main()
