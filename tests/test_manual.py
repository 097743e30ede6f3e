"""The pages of docs/ can be listed, read and searched, wherever the program is installed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from asking import Asking
from sessions import shown_commands

from dagstack_dev import manual
from dagstack_dev.cli.main import cli
from dagstack_dev.static.findings import RULES

CHECKOUT = Path(__file__).parents[1]
FILES = {each.stem: each for each in (CHECKOUT / "docs").glob("*.md")}


@pytest.fixture
def ask(tmp_path: Path) -> Asking:
    return Asking(tmp_path)


def test_every_page_is_there_as_it_is_written() -> None:
    assert {each.name: each.text for each in manual.pages()} == {
        name: file.read_text(encoding="utf-8") for name, file in FILES.items()
    }


@pytest.mark.parametrize("page", manual.pages(), ids=lambda page: page.name)
def test_every_page_has_a_title_and_a_first_sentence(page: manual.Page) -> None:
    assert page.text.startswith(f"# {page.title}\n")
    assert page.summary.strip()
    assert "](" not in page.summary


@pytest.mark.parametrize("page", manual.pages(), ids=lambda page: page.name)
def test_every_section_is_found_by_its_address(page: manual.Page) -> None:
    for section in page.sections:
        text = manual.read(section.address)
        assert text.startswith(section.text.rstrip())
        assert text in page.text


def test_a_section_comes_with_what_is_below_it() -> None:
    text = manual.read("logs#reloads")
    assert "### reload.committed" in text
    assert re.findall(r"^## .*", text, re.MULTILINE) == ["## Reloads"]


def test_a_comment_in_code_begins_no_section() -> None:
    assert "# dagstack-dev.toml" in manual.read("cli#settings-files")


@pytest.mark.parametrize("address", ["logs#traces", "logs.md#traces", "docs/logs.md#Traces"])
def test_an_address_may_be_written_as_a_link_or_a_heading(address: str) -> None:
    assert manual.read(address).startswith("## Traces\n")


def test_the_code_of_a_finding_leads_to_what_explains_it() -> None:
    for rule in RULES:
        assert manual.read(f"checks#{rule.code}").startswith(f"### {rule.code} {rule.name}\n")


@pytest.mark.parametrize(
    ("words", "address"),
    [
        ("what survives a reload", "plugins#what-survives-a-reload"),
        ("skip a check code", "checks#options"),
        ("dev_panel_", "plugins#panels"),
        ("PERFETTO", "logs#traces"),
    ],
)
def test_a_search_finds_the_section_that_is_about_it(words: str, address: str) -> None:
    hits = manual.search(words)
    assert address in [each.section.address for each in hits[:2]]
    assert all(each.excerpt for each in hits)


def test_a_search_for_what_no_page_says_finds_nothing() -> None:
    assert manual.search("xylophone") == manual.search("") == []


def test_the_command_lists_reads_and_searches(ask: Asking) -> None:
    listed = ask.run("docs").stdout.splitlines()
    assert [line.split(maxsplit=1) for line in listed] == [
        [each.name, each.title] for each in manual.pages()
    ]
    assert ask.run("docs", "mcp").stdout == FILES["mcp"].read_text()
    found = ask.run("docs", "--search", "survives reload").stdout
    assert found.startswith("plugins#what-survives-a-reload\n  ")


def test_what_the_page_shows_is_printed(ask: Asking) -> None:
    ((command, output),) = shown_commands(manual.read("cli#these-pages"))
    assert ask.run(*command).stdout == output


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["chek"], 2, "there is no page 'chek'; did you mean 'checks'?"),
        (["checks#optons"], 2, "no section 'optons' in the page 'checks'; did you mean 'options'?"),
        (["checks#d"], 2, "no section 'd' in the page 'checks'"),
        (["checks", "--search", "x"], 2, "name a page, or --search all of them"),
        (["--search", "xylophone"], 1, "no page says 'xylophone'"),
    ],
)
def test_what_is_not_there_is_one_line(
    ask: Asking, arguments: list[str], code: int, words: str
) -> None:
    done = ask.run("docs", *arguments)
    assert (done.returncode, done.stdout) == (code, "")
    assert words in done.stderr
    assert done.stderr.count("\n") == 1


def test_every_page_that_a_message_or_a_help_names_is_there() -> None:
    sources = (each.read_text() for each in (CHECKOUT / "dagstack_dev").rglob("*.py"))
    named = {
        address
        for text in sources
        for address in re.findall(r"`dagstack-dev docs ([\w#-]+)`", text)
    }
    assert named
    for each in named:
        manual.read(each)
    assert "docs" in cli.commands
