"""The map of rooms in docs/architecture.md has every module, and no other."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
(MAP,) = re.findall(r"```\n(dagstack_dev/\n.*?)```", PAGE, re.DOTALL)
MODULES = {
    path.stem for path in (ROOT / "dagstack_dev").rglob("*.py") if not path.name.startswith("_")
}


def test_every_module_is_on_the_map() -> None:
    words = set(re.findall(r"\w+", MAP))
    assert sorted(MODULES - words) == []


def test_the_map_names_no_module_that_is_gone() -> None:
    named = set(re.findall(r"(\w+)\.py\b", MAP))
    assert sorted(named - MODULES) == []
