"""A key is found in its line, whatever the notation."""

from __future__ import annotations

from textwrap import dedent

import pytest

from dagstack_dev.core.documents import DocumentInvalid, read_document

TEXT = """\
# name = "in a comment"
top = 1

[plugin] # the table
text = '''
[plugin]
name = "in a string"
'''
name = "x"
list = [
    "a", # name
    "b",
]
inline = { one = 1, two = { deep = 2 } }
dotted.key.one = 1
dotted.key.two = 2
"quoted key" = 1

[plugin.resources]
required = []

[[plugin.entries]]
first = 1

[[plugin.entries]]
second = 2
"""


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ("top", 2),
        ("plugin", 4),
        ("plugin.text", 5),
        ("plugin.name", 9),
        ("plugin.list", 10),
        ("plugin.inline", 14),
        ("plugin.inline.two.deep", 14),
        ("plugin.dotted", 15),
        ("plugin.dotted.key.two", 16),
        ("plugin.quoted key", 17),
        ("plugin.resources", 19),
        ("plugin.resources.required", 20),
        ("plugin.entries", 22),
        ("plugin.entries.second", 26),
        ("plugin.absent", None),
        ("absent.name", None),
        ("top.below", None),
    ],
)
def test_a_key_is_found_where_its_statement_begins(path: str, line: int | None) -> None:
    assert read_document(TEXT.encode()).line_of(path.split(".")) == line


@pytest.mark.parametrize("odd", ["\u2028", "\x85", "\u2029"])
def test_only_newlines_count_as_lines_as_in_editors(odd: str) -> None:
    assert read_document(f'a = "{odd}"\nb = 1\n'.encode()).line_of(["b"]) == 2


def test_windows_newlines_count_once() -> None:
    assert read_document(b"a = 1\r\n\r\nb = 1\r\n").line_of(["b"]) == 3


def test_the_last_line_needs_no_newline() -> None:
    assert read_document(b"a = 1\nb = 2").line_of(["b"]) == 2


def test_lines_of_json_keys_are_found_at_any_depth_and_not_in_values() -> None:
    text = dedent(
        """\
        {"a": ":",
         "b": {"a": ["a:", {"c": 1}],
               "c\\"": 2},
         "a": 3,
         "c": {"b": {"d": [[1], {}], "e":
            1}}}
        """
    )
    lines = read_document(text.encode(), is_json=True)
    assert lines.line_of(["a"]) == 4  # The last one counts, as it does for the parser.
    assert lines.line_of(["b", "a"]) == 2
    assert lines.line_of(["b", 'c"']) == 3
    assert lines.line_of(["c", "b", "e"]) == 5
    assert lines.line_of(["c", "b", "c"]) is None
    assert lines.line_of(["b", "a", "c"]) is None


@pytest.mark.parametrize("text", ["a = 1\nb = [", "a = 1\nb = [\n", "a = 1\nb = "])
def test_a_text_that_ends_too_early_is_wrong_in_its_last_line(text: str) -> None:
    with pytest.raises(DocumentInvalid) as raised:
        read_document(text.encode())
    assert raised.value.line == 2
