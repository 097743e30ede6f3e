"""Errors and log lines as a person reads them."""

from __future__ import annotations

import json
import logging
import math
import sys
from collections import UserDict
from dataclasses import replace
from io import StringIO
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import Any

import pytest
from rich.console import Console

from dagstack_dev.cli import excerpts, wording
from dagstack_dev.cli.excerpts import explain
from dagstack_dev.cli.log_lines import _ConsoleLine, _json
from dagstack_dev.core.errors.files import ConfigInvalid, ManifestInvalid, ManifestProblem
from dagstack_dev.core.errors.life import PluginLoadError
from dagstack_dev.core.refs import PluginRef
from dagstack_dev.core.tracebacks import steps_of, traceback_of
from dagstack_dev.disk.accounts import FRAMES_LIMIT, MESSAGE_LINES
from dagstack_dev.runtimes.process.transfer import pack, unpack

REF = PluginRef("demo", "a")


class _Loader:
    """What a module of a plugin is loaded by: it remembers the text that runs."""

    def __init__(self, text: str) -> None:
        self._text = text

    def get_source(self, _: str) -> str:
        return self._text


def plugin_error(text: str, path: Path) -> OSError:
    """What `text` raises as the code of a plugin whose file says something else by now."""
    module = ModuleType("dagstack_plugins.demo.a.plugin")
    vars(module)["__loader__"] = _Loader(text)
    path.write_text("# quite another text\n", encoding="utf-8")
    with pytest.raises(OSError) as caught:  # noqa: PT011 - the tests look at its message
        exec(compile(text, str(path), "exec"), vars(module))
    return caught.value


def lines(error: BaseException, who: str = "") -> list[str]:
    return [line.plain for line in explain(error, who)]


def test_every_error_of_a_group_is_named_and_the_first_is_shown(tmp_path: Path) -> None:
    code = "try:\n    1 / 0\nexcept ArithmeticError as error:\n    e = error\n"
    code += "raise ExceptionGroup('two', [OSError('no'), e])\n"
    path = tmp_path / "plugin.py"
    module = ModuleType("dagstack_plugins.demo.a.plugin")
    with pytest.raises(ExceptionGroup) as caught:
        exec(compile(code, str(path), "exec"), vars(module))
    error = PluginLoadError(REF, "import", "two (2 sub-exceptions)")
    error.__cause__ = caught.value
    first, second, *_ = lines(error)
    assert first == "OSError: no"
    assert second == f"and ZeroDivisionError: division by zero at {path}:2"


def test_the_lines_shown_are_those_that_ran_not_those_on_disk(tmp_path: Path) -> None:
    path = tmp_path / "plugin.py"
    error = plugin_error("def f():\n    x = 1\n    raise OSError('no')\n\nf()\n", path)
    assert lines(error) == [
        "OSError: no",
        f"{path}:5 in <module>",
        f"{path}:3 in f",
        "     1  def f():",
        "     2      x = 1",
        "❱    3      raise OSError('no')",
    ]


@pytest.mark.parametrize("text", ["x = 1\n\ny = 2\nraise OSError('no')\n", "raise OSError('no')"])
def test_the_lines_of_another_process_are_those_that_ran_there(tmp_path: Path, text: str) -> None:
    path = tmp_path / "plugin.py"
    error = plugin_error(text, path)
    there = pack(error, ref=REF, what="it")
    assert lines(unpack(there, ref=REF, what="it")) == lines(error)
    assert any(line.endswith("raise OSError('no')") for line in lines(error))


def test_where_the_lines_that_ran_are_not_known_none_are_shown(tmp_path: Path) -> None:
    path = tmp_path / "plugin.py"
    error = plugin_error("raise OSError('no')", path)
    steps = [replace(step, text=()) for step in steps_of(error)]
    error.__traceback__ = traceback_of(steps)
    assert lines(error) == ["OSError: no", f"{path}:1 in <module>"]


def test_causes_and_notes_are_one_line_each(tmp_path: Path) -> None:
    text = (
        "try:\n    int('x')\nexcept ValueError as error:\n"
        "    failure = OSError('no')\n    failure.add_note('see the manual')\n"
        "    raise failure from error\n"
    )
    path = tmp_path / "plugin.py"
    shown = lines(plugin_error(text, path))
    assert shown[:2] == ["OSError: no", "see the manual"]
    assert shown[-1].startswith("caused by ValueError: invalid literal")
    assert shown[-1].endswith(f" at {path}:2")


def test_a_cause_that_says_the_same_is_left_out(tmp_path: Path) -> None:
    text = "raise OSError('refused') from OSError('refused')"
    assert not [
        line for line in lines(plugin_error(text, tmp_path / "plugin.py")) if "caused by" in line
    ]


def test_a_single_line_more_is_one_line(tmp_path: Path) -> None:
    text = f"raise OSError('\\n'.join('x' * {MESSAGE_LINES + 1}))"
    assert "1 more line" in lines(plugin_error(text, tmp_path / "plugin.py"))


def test_urls_of_files_are_shortened_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wording, "HERE", "/srv/")
    assert wording.short("at file:///srv/a/b.mjs:3, /srv/c") == "at a/b.mjs:3, c"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("it exited; its last words:\n  why\n", "it exited"),
        ("it exited\n  why", "it exited"),
        ("at last:\n  why", "at last:"),
        ("", ""),
    ],
)
def test_a_headline_announces_nothing(text: str, shown: str) -> None:
    assert excerpts.headline(text) == shown


def test_long_messages_and_deep_calls_are_cut(tmp_path: Path) -> None:
    text = (
        "def f(n):\n    if not n:\n        raise OSError('\\n'.join('abcdefghijklmnop'))\n"
        "    f(n - 1)\n\nf(20)\n"
    )
    shown = lines(plugin_error(text, tmp_path / "plugin.py"))
    assert shown[MESSAGE_LINES] == "6 more lines"
    assert f"{22 - FRAMES_LIMIT - 1} more calls" in shown
    assert len(shown) < 25


def test_a_message_that_cannot_be_made_is_no_error_of_ours(tmp_path: Path) -> None:
    text = (
        "class Bad(OSError):\n    def __str__(self):\n        raise KeyError\n\n"
        "def f():\n    raise Bad\n\nf()\n"
    )
    shown = lines(plugin_error(text, tmp_path / "plugin.py"))
    assert shown[0] == "Bad: (its __str__ raised KeyError)"


def test_a_syntax_error_whose_file_has_moved_on_shows_the_line_it_was_about(
    tmp_path: Path,
) -> None:
    path = tmp_path / "plugin.py"
    path.write_text("x = 1\ndef broken(:\n", encoding="utf-8")
    with pytest.raises(SyntaxError) as caught:
        compile(path.read_bytes(), str(path), "exec")
    path.write_text("x = 1\ny = 2\n", encoding="utf-8")
    error = PluginLoadError(REF, "compile", "SyntaxError", path=str(path), line=2)
    error.__cause__ = caught.value
    assert lines(error) == [
        f"SyntaxError: {caught.value.msg}",
        f"{path}:2",
        "❱    2  def broken(:",
    ]
    path.write_text("x = 1\ndef broken(:\n", encoding="utf-8")
    assert lines(error)[2:] == ["     1  x = 1", "❱    2  def broken(:"]


def test_an_error_of_the_registry_is_reported_without_repeating_the_plugin(tmp_path: Path) -> None:
    error = PluginLoadError(REF, "compile", "the entry file is empty", path=str(tmp_path))
    assert lines(error, "demo/a") == ["the entry file is empty", str(tmp_path)]


def test_problems_of_one_line_share_its_excerpt(tmp_path: Path) -> None:
    path = tmp_path / "dagstack.toml"
    path.write_text("[plugin]\nname = 3\n")
    problems = [
        ManifestProblem("kind", "missing", 1),
        ManifestProblem("runtime", "missing", 1),
        ManifestProblem("name", "must be text", 2),
    ]
    shown = lines(ManifestInvalid(str(path), problems))
    assert shown[:2] == ["kind: missing", "runtime: missing"]
    assert [line for line in shown if "❱" in line] == ["❱    1  [plugin]", "❱    2  name = 3"]


def test_a_broken_config_shows_its_line(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text("a = 1\nb = \n", encoding="utf-8")
    shown = lines(ConfigInvalid(str(path), [ManifestProblem("", "is not valid TOML", 2)]))
    assert shown[0] == "is not valid TOML"
    assert shown[1] == f"{path}:2"
    assert "❱    2  b = " in shown


def console_line(level: int = logging.INFO, **event: Any) -> str:
    """A line of the format `console` without its time."""
    record = logging.LogRecord("acme", level, "", 1, "", (), None)
    line = _ConsoleLine(Console(file=StringIO()))(None, "", {"_record": record, **event})
    return line.split(" ", 1)[1]


@pytest.mark.parametrize(
    ("event", "line"),
    [
        ({"event": "tick", "plugin": "a/b", "logger": "plugins"}, "a/b  tick"),
        ({"event": "tick", "logger": "acme"}, "acme  tick"),
        ({"event": "e", "plugin": "a/b", "text": "x y", "n": 1}, "a/b  e  text='x y'  n=1"),
        ({"event": "e", "plugin": "a/b", "word": "ok", "no": ""}, "a/b  e  word=ok  no=''"),
        ({"event": "two\nlines", "plugin": "a/b"}, "a/b  two\n    lines"),
        ({"event": "[red]e", "plugin": "a/b", "level": "info"}, "a/b  [red]e"),
        ({"level": logging.WARNING, "event": "e", "plugin": "a/b"}, "a/b  warning  e"),
        ({"level": logging.ERROR, "event": "e", "plugin": "a/b"}, "a/b  error  e"),
    ],
)
def test_a_log_line_is_plugin_event_and_fields(event: dict[str, Any], line: str) -> None:
    level = event.pop("level", logging.INFO)
    assert console_line(level if isinstance(level, int) else logging.INFO, **event) == line


def test_an_exception_in_a_log_line_is_shown_with_the_frames_of_plugins_only(
    tmp_path: Path,
) -> None:
    error = plugin_error("raise OSError('no')\n", tmp_path / "plugin.py")
    for exc_info in (error, (type(error), error, error.__traceback__)):
        assert console_line(event="e", plugin="a/b", exc_info=exc_info).splitlines() == [
            "a/b  e",
            "    OSError: no",
            f"    {tmp_path / 'plugin.py'}:1 in <module>",
            "    ❱    1  raise OSError('no')",
        ]
    assert sys.exception() is None
    assert console_line(event="e", plugin="a/b", exc_info=True) == "a/b  e"


def test_what_json_cannot_say_is_written_as_python_would() -> None:
    circle: list[Any] = []
    circle.append(circle)
    event = {"event": "e", "plugin": "a/b", "circle": circle, "keys": {(1,): 2}, "n": 1}
    assert _json(event) == (
        '{"event": "e", "plugin": "a/b", "circle": ["..."], "keys": "{(1,): 2}", "n": 1}'
    )


class _Mute:
    def __repr__(self) -> str:
        raise RuntimeError("no words")


@pytest.mark.parametrize("beside", ["plain", "sk-0123456789abcdefgh", math.nan, [_Mute(), 1]])
def test_mappings_are_objects_in_json_whatever_else_a_line_holds(beside: object) -> None:
    event = {
        "event": "e",
        "beside": beside,
        "proxy": MappingProxyType({"run": 1}),
        "user": UserDict({"runs": [UserDict({"run": 2})]}),
    }
    line = json.loads(_json(event))
    assert line["proxy"] == {"run": 1}
    assert line["user"] == {"runs": [{"run": 2}]}
    assert set(line) == set(event)


def test_secrets_in_mappings_are_masked_in_json() -> None:
    event = {"event": "e", "user": UserDict({"run": UserDict({"password": "hush"})})}
    line = _json(event)
    assert line == '{"event": "e", "user": {"run": {"password": "***"}}}'
