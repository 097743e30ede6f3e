"""Every row of docs/reliability.md names a test that exists, and every fault test has its row."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
PAGE = (REPOSITORY / "docs" / "reliability.md").read_text(encoding="utf-8")
NAMED = sorted(set(re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", PAGE)))


@pytest.mark.parametrize(("path", "test"), NAMED)
def test_the_test_of_a_row_exists(path: str, test: str) -> None:
    text = (REPOSITORY / path).read_text(encoding="utf-8")
    assert re.search(rf"^(async )?def {test}\(", text, re.MULTILINE)


def test_every_row_has_four_cells_and_a_test() -> None:
    rows = [line for line in PAGE.splitlines() if line.startswith("| ")]
    bodies = [row for row in rows if not row.startswith(("| fault", "| ---"))]
    assert len(bodies) > 50
    for row in bodies:
        cells = [cell.strip() for cell in row.strip("|").split(" | ")]
        assert len(cells) == 4, row
        assert "::" in cells[-1], row
