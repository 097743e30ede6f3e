"""Everything that is wrong with a manifest is reported, at the right lines."""

from __future__ import annotations

from textwrap import dedent

import pytest

from dagstack_dev.core.errors.files import ManifestInvalid
from dagstack_dev.core.manifest.parsing import load_manifest_from_dict, parse_manifest
from dagstack_dev.core.refs import PluginRef


def refuse(text: str | bytes) -> ManifestInvalid:
    """The error that the manifest `text` draws."""
    data = text if isinstance(text, bytes) else dedent(text).encode()
    with pytest.raises(ManifestInvalid) as caught:
        parse_manifest(data, "p/dagstack.toml")
    return caught.value


def lines(error: ManifestInvalid) -> dict[str, int | None]:
    return {problem.field: problem.line for problem in error.problems}


def test_all_problems_come_at_once_each_with_its_line() -> None:
    error = refuse(
        """\
        # comment
        [plugin]
        name = "greeter"
        kind = "tool"

        runtime = [
            "in_process",
        ]
        priority = "5"
        tags = [
            "x",
        ]
        capabilities = [
            "fine",
            1,
        ]
        resources.required = "clock"
        env = { A = "1", B = 2 }
        """
    )
    assert lines(error) == {
        "core_version": 2,
        "entry_point": 2,
        "priority": 9,
        "tags": 10,
        "capabilities": 13,
        "resources.required": 17,
        "env.B": 18,
    }
    assert error.ref == PluginRef("tool", "greeter")
    assert error.path == "p/dagstack.toml"
    assert error.line == 2
    text = str(error)
    assert text.startswith("p/dagstack.toml: 7 problems in the manifest\n")
    assert "line 9: priority: should be a valid integer, not '5'" in text
    assert 'line 2: core_version: missing; add core_version = ">=0.1,<1"' in text


def test_what_contradicts_itself_is_reported_along_with_everything_else() -> None:
    error = refuse(
        """\
        [plugin]
        name = "greeter"
        kind = "tool"
        core_version = ">=0.1"
        runtime = "in_process"
        tryfirst = true
        trylast = true
        """
    )
    assert lines(error) == {"entry_point": 1, "trylast": 7}
    assert "tryfirst and trylast exclude each other" in str(error)
    assert 'entry_point: missing; add entry_point = "plugin:ClassName"' in str(error)


def test_one_problem_reads_as_one_line_with_its_place() -> None:
    error = refuse(
        """\
        plugin.name = "greeter"
        plugin.kind = "tool"
        plugin.core_version = ">=0.1"
        plugin.runtime = "in_process"
        plugin.entry_point = "plugin"
        """
    )
    assert str(error) == (
        "p/dagstack.toml:5: entry_point: 'plugin' must read \"module:Class\", where module is a "
        "file inside the plugin's folder"
    )


def test_the_layout_without_a_plugin_table_gets_right_lines_too() -> None:
    error = refuse(
        """\

        name = "greeter"
        kind = 5
        core_version = ">=0.1"
        runtime = "in_process"
        entry_point = "plugin:A"
        [unit_of_work]
        declared = "yes"
        """
    )
    assert lines(error) == {"kind": 3, "unit_of_work.declared": 8}
    assert error.ref is None


def test_missing_fields_of_a_manifest_without_a_plugin_table_point_at_its_start() -> None:
    error = refuse("# nothing here\n")
    assert lines(error) == {"name": 1, "kind": 1, "core_version": 1, "runtime": 1}


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("pirority = 1", "priority"),
        ("dependson = []", "depends_on"),
        ("startup_timeout = 1", "startup_timeout_sec"),
        ('resources = { requird = ["x"] }', "required"),
        ("unit_of_work = { declare = true }", "declared"),
    ],
)
def test_an_unknown_key_is_answered_with_the_one_that_was_meant(written: str, meant: str) -> None:
    error = refuse(
        f"""\
        [plugin]
        name = "greeter"
        kind = "tool"
        core_version = ">=0.1"
        runtime = "in_process"
        entry_point = "plugin:A"
        {written}
        """
    )
    assert str(error).endswith(f"unknown key; did you mean {meant!r}?")
    assert error.line == 7


def test_an_unknown_key_that_resembles_nothing_gets_no_guess() -> None:
    assert "did you mean" not in str(refuse("[plugin]\nzzzzqqqq = 1\n"))


def test_bad_utf8_is_reported_with_its_line() -> None:
    error = refuse(b'[plugin]\nname = "x"\nkind = "\xff"\n')
    assert str(error) == "p/dagstack.toml:3: is not UTF-8 text (byte 28)"


def test_a_byte_order_mark_does_no_harm() -> None:
    text = (
        '[plugin]\nname = "a"\nkind = "tool"\ncore_version = ">=0.1"\n'
        'runtime = "in_process"\nentry_point = "plugin:A"\n'
    )
    assert parse_manifest(b"\xef\xbb\xbf" + text.encode(), "x").name == "a"
    crlf = text.replace("\n", "\r\n").encode()
    assert parse_manifest(crlf, "x").name == "a"
    assert lines(refuse(b"\xef\xbb\xbf" + crlf + b"priority = true\r\n")) == {"priority": 7}


@pytest.mark.parametrize("data", [b"", b"  \n\n", b"\xef\xbb\xbf"])
def test_an_empty_manifest_says_so(data: bytes) -> None:
    assert str(refuse(data)) == "p/dagstack.toml: is empty; a manifest was expected"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("[plugin]\nname = 'x'\nkind =\n", 3),
        ("[plugin\nname = 'x'\n", 1),
        ("[plugin]\nname = 'x'\nname = 'y'\n", 3),
        ("[plugin]\n\n\nname = x\n", 4),
    ],
)
def test_a_toml_syntax_error_is_reported_with_its_line(text: str, line: int) -> None:
    error = refuse(text)
    assert error.line == line
    assert str(error).startswith(f"p/dagstack.toml:{line}: is not valid TOML: ")


@pytest.mark.parametrize(
    ("text", "line"), [("\nplugin = 5\n", 2), ("\n\n[[plugin]]\nname = 'x'\n", 3)]
)
def test_a_plugin_table_that_is_none_is_reported(text: str, line: int) -> None:
    error = refuse(text)
    assert str(error) == f"p/dagstack.toml:{line}: plugin: must be a table"


def test_a_ref_is_salvaged_only_from_a_proper_kind_and_name() -> None:
    assert refuse('name = "a"\nkind = "k"\n').ref == PluginRef("k", "a")
    assert refuse('name = "../a"\nkind = "k"\n').ref is None
    assert refuse('name = "a\\n"\nkind = "k"\n').ref is None


IN_A_DICT = {
    "a field that is missing": ({}, 'missing; add "core_version": ">=0.1,<1"'),
    "no entry point": ({"runtime": "in_process"}, 'add "entry_point": "plugin:ClassName"'),
    "no command": ({"runtime": "mcp_stdio"}, 'add "command": ["python", "server.py"]'),
    "of another runtime": (
        {"runtime": "in_process", "url": "http://localhost"},
        'is for "runtime": "mcp_http"; remove it',
    ),
    "refused": ({"timeout_seconds": 1}, 'or timeout_sec in "mcp_stdio" or "mcp_http"'),
}


@pytest.mark.parametrize(("fields", "says"), IN_A_DICT.values(), ids=IN_A_DICT.keys())
def test_what_to_write_in_a_dict_is_spelt_as_in_one(fields: dict[str, object], says: str) -> None:
    with pytest.raises(ManifestInvalid) as caught:
        load_manifest_from_dict({"name": "a", "kind": "tool", **fields})
    assert says in str(caught.value)


def test_what_to_write_in_json_is_spelt_as_json() -> None:
    with pytest.raises(ManifestInvalid, match='missing; add "name": '):
        parse_manifest(b'{"kind": "tool"}', "p/dagstack.json")


def test_a_value_is_quoted_as_it_was_written() -> None:
    with pytest.raises(ManifestInvalid, match="""'a = "b"' may hold letters"""):
        load_manifest_from_dict({"name": 'a = "b"', "kind": "tool"})


@pytest.mark.parametrize("table", ["plugins", "Plugin", "plugn"])
def test_a_table_of_nearly_the_right_name_is_named_in_place_of_missing_fields(table: str) -> None:
    error = refuse(f"# comment\n[{table}]\nname = 'a'\n")
    assert str(error) == f"p/dagstack.toml:2: {table}: is not read; write [plugin]"


def test_in_json_too() -> None:
    with pytest.raises(ManifestInvalid, match='plugins: is not read; write "plugin"'):
        parse_manifest(b'{"plugins": {"name": "a"}}', "p/dagstack.json")
