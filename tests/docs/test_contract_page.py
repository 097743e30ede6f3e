"""Every row of docs/contract.md names code and a test that exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
PAGE = (REPOSITORY / "docs" / "contract.md").read_text(encoding="utf-8")
ROWS = [
    [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
    for line in PAGE.splitlines()
    if line.startswith("| ") and not line.startswith(("| row", "| question", "| ---"))
]


def test_the_page_has_the_whole_contract() -> None:
    assert len(ROWS) > 120


@pytest.mark.parametrize("row", ROWS, ids=[row[0][:40] for row in ROWS])
def test_a_row_names_its_code_and_its_test(row: list[str]) -> None:
    assert len(row) == 4, row
    for path in re.findall(r"`([\w/]+\.py|[\w/]+/)`", row[1]):
        assert (REPOSITORY / "dagstack_dev" / path).exists(), path
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", row[2])
    assert named, row
    for path, test in named:
        text = (REPOSITORY / path).read_text(encoding="utf-8")
        assert re.search(rf"^(async )?def {test}\(", text, re.MULTILINE), f"{path}::{test}"
