"""What was edited, as text: without secrets, and no more than can be read."""

from __future__ import annotations

from dagstack_dev.core.diffs import MOST_LINES, text_of, unified
from dagstack_dev.core.sources import PluginSource, SourceFile
from dagstack_dev.core.timeline import MOST_BYTES, MOST_FILES, Edit, bounded, edits_between


def test_an_edit_is_a_unified_diff() -> None:
    before, after = b"a\nb\nc\n", b"a\nB\nc\n"
    assert unified("/p.py", before, after) == (
        "--- /p.py\n+++ /p.py\n@@ -1,3 +1,3 @@\n a\n-b\n+B\n c\n"
    )


def test_a_file_that_comes_or_goes_comes_from_or_goes_nowhere() -> None:
    assert unified("/p.py", None, b"a\n") == "--- /dev/null\n+++ /p.py\n@@ -0,0 +1 @@\n+a\n"
    assert unified("/p.py", b"a\n", None) == "--- /p.py\n+++ /dev/null\n@@ -1 +0,0 @@\n-a\n"


def test_what_is_no_text_has_no_diff() -> None:
    assert unified("/p.bin", b"\xff", b"a") is None
    assert unified("/p.bin", b"a", b"a\0b") is None


def test_secrets_are_masked_before_lines_are_compared() -> None:
    diff = unified("/p.py", b"token = 'first-1'\nx = 1\n", b"token = 'second-2'\nx = 2\n")
    assert diff is not None
    assert diff.endswith("@@ -1,2 +1,2 @@\n token = '***'\n-x = 1\n+x = 2\n")
    assert unified("/p.py", b"token = 'first-1'\n", b"token = 'second-2'\n") == ""


def test_a_long_diff_ends_with_how_much_is_left_out() -> None:
    after = "".join(f"line {number}\n" for number in range(2 * MOST_LINES))
    diff = unified("/p.py", b"", after.encode())
    assert diff is not None
    assert len(diff.splitlines()) == MOST_LINES + 1
    assert diff.endswith(f"... and {MOST_LINES + 3} more lines\n")


def test_an_edit_of_which_no_text_is_kept_has_none() -> None:
    kept, unkept = SourceFile.of(b"a\n"), SourceFile.of(b"b\n", keep=False)
    assert text_of(Edit("/p", kept, unkept)) is None
    assert text_of(Edit("/p", None, None)) is None
    assert text_of(Edit("/p", kept, None)) is not None


def test_the_edits_of_a_plugin_are_its_files_that_differ() -> None:
    same, old, new = (SourceFile.of(each) for each in (b"s", b"o", b"n"))
    before = PluginSource("/p", {"a.py": same, "b.py": old})
    after = PluginSource("/p", {"a.py": same, "b.py": new, "c.py": new})
    assert [*edits_between(before, after)] == [
        Edit("/p/b.py", old, new),
        Edit("/p/c.py", None, new),
    ]
    assert [each.path for each in edits_between(before, None)] == ["/p/a.py", "/p/b.py"]
    assert [each.after for each in edits_between(None, before)] == [same, old]


def test_of_many_and_of_large_edits_only_some_is_kept() -> None:
    small, large = SourceFile.of(b"s"), SourceFile.of(b"x" * MOST_BYTES)
    kept = [*bounded([Edit("/1", None, small), Edit("/2", None, large), Edit("/3", None, small)])]
    assert kept == [Edit("/1", None, small), Edit("/2", None, None), Edit("/3", None, small)]
    assert len([*bounded([Edit("/1", None, small)] * 3 * MOST_FILES)]) == MOST_FILES
