"""Facts as log events, and docs/logs.md about them."""

from __future__ import annotations

import json
import logging
import re
from pathlib import Path
from typing import Any

import pytest
import structlog
from facts import CHAT, OPENAI, every_fact, transition
from trees import PluginTree

from dagstack_dev import DevServer
from dagstack_dev.core import events
from dagstack_dev.core.events import Fact, PluginRejected, Transition
from dagstack_dev.core.lifecycle import State
from dagstack_dev.host.services.loggers import AppLogger
from dagstack_dev.logs import FactLogger, as_event, error_fields

DOCS = (Path(__file__).parents[2] / "docs" / "logs.md").read_text(encoding="utf-8")
EVENTS = {event: (level, fields) for level, event, fields in map(as_event, every_fact())}
EXAMPLES = {
    heading: json.loads(example)
    for heading, example in re.findall(
        r"^### (\S+)\n.*?^```json\n(\{.*?\})\n```", DOCS, re.MULTILINE | re.DOTALL
    )
}


def test_the_samples_have_a_fact_of_every_kind_and_a_transition_into_every_state() -> None:
    facts = every_fact()
    classes = {each for each in vars(events).values() if isinstance(each, type)}
    kinds = {each for each in classes if issubclass(each, Fact)} - {Fact}
    assert {type(fact) for fact in facts} == kinds
    assert {fact.to_state for fact in facts if isinstance(fact, Transition)} == set(State)


def test_the_docs_list_exactly_the_events_there_are() -> None:
    assert re.findall(r"^### (\S+)$", DOCS, re.MULTILINE) == list(EXAMPLES)
    assert set(EXAMPLES) == set(EVENTS)


@pytest.mark.parametrize("event", sorted(EVENTS))
def test_the_example_in_the_docs_has_the_fields_and_the_level_of_the_event(event: str) -> None:
    example = EXAMPLES[event]
    level, fields = EVENTS[event]
    assert example.keys() == {"timestamp", "level", "event", "logger", *fields}
    assert (example["event"], example["level"]) == (event, level)
    assert f"### {event}\n\nLevel `{level}`." in DOCS


@pytest.mark.parametrize("event", sorted(EVENTS))
def test_every_field_that_is_not_common_is_explained(event: str) -> None:
    section = DOCS.split(f"### {event}\n")[1].split("```")[0]
    common = set(re.findall(r"^\| `(\w+)` \|", DOCS, re.MULTILINE)) | {"from_state", "to_state"}
    for field in EVENTS[event][1].keys() - common - {"reason"}:
        assert f"`{field}`" in section


@pytest.mark.parametrize("state", list(State))
def test_a_transition_says_from_where_to_where_why_and_how_long(state: State) -> None:
    fact = transition(state, State.LOADED, duration_ms=1.23456)
    level, event, fields = as_event(fact)
    assert event == f"plugin.{state}"
    assert level == {State.FAILED: "error", State.BLOCKED: "warning"}.get(state, "info")
    assert fields == {
        "plugin": "llm/openai",
        "from_state": "loaded",
        "to_state": state.value,
        "generation": 2,
        "reload_id": 1,
        "duration_ms": 1.235,
        "reason": "plugin.py changed",
    }


def test_errors_carry_type_message_path_and_line() -> None:
    (rejected,) = (fact for fact in every_fact() if isinstance(fact, PluginRejected))
    assert error_fields(rejected.error) == {
        "type": "ManifestInvalid",
        "message": str(rejected.error),
        "path": "/srv/plugins/openai/dagstack.toml",
        "line": 7,
    }


def test_an_error_by_plugin_is_keyed_by_the_plugin() -> None:
    _, fields = EVENTS["reload.rolled_back"]
    assert fields["errors"][str(OPENAI)]["type"] == "RuntimeError"
    assert fields["running"] == {str(CHAT): 1, str(OPENAI): 2}


def test_everything_can_be_written_as_json() -> None:
    for _, fields in EVENTS.values():
        assert json.loads(json.dumps(fields)) == fields


def test_the_fact_logger_logs_each_fact_once_through_structlog(
    captured_events: list[structlog.typing.EventDict],
) -> None:
    log = FactLogger(structlog.get_logger())
    for fact in every_fact():
        log(fact)
    logged = [(event["log_level"], event["event"]) for event in captured_events]
    assert logged == [as_event(fact)[:2] for fact in every_fact()]


async def test_inside_an_app_its_structlog_rules_and_nothing_is_configured(
    tree: PluginTree,
) -> None:
    tree.plugin("a")
    seen: list[dict[str, Any]] = []

    def collect(_: object, __: str, event: structlog.typing.EventDict) -> Any:
        seen.append(dict(event))
        raise structlog.DropEvent

    handlers = list(logging.getLogger().handlers)
    level = logging.getLogger().level
    structlog.configure(processors=[collect])
    configured = structlog.get_config()
    async with DevServer(tree.root):
        pass
    assert structlog.get_config() == configured
    assert logging.getLogger().handlers == handlers
    assert logging.getLogger().level == level
    steps = [event["to_state"] for event in seen if event.get("plugin") == "demo/a"]
    assert steps == ["discovered", "loaded", "setting_up", "ready", "tearing_down", "stopped"]
    assert [event["event"] for event in seen if "plugin" not in event] == [
        "watch.started",
        "watch.stopped",
    ]


@pytest.mark.parametrize(("level", "logged"), [("INFO", 2), ("WARNING", 1), ("ERROR", 0)])
def test_a_logger_that_filters_by_level_gets_the_transitions_of_its_level(
    level: str, logged: int
) -> None:
    number = logging.getLevelNamesMapping()[level]
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(number))
    with structlog.testing.capture_logs() as events:
        log = FactLogger(structlog.get_logger())
        log(transition(State.READY, State.SETTING_UP))
        log(transition(State.BLOCKED, State.STOPPED))
    assert len(events) == logged


class Shy(Exception):
    path = 7

    @property
    def line(self) -> int:
        raise LookupError


def test_an_error_with_no_place_or_an_odd_one_is_logged_without() -> None:
    assert error_fields(Shy("no key")) == {
        "type": "Shy",
        "message": "no key",
        "path": None,
        "line": None,
    }


def test_an_app_may_configure_structlog_when_it_likes_and_again() -> None:
    logger = AppLogger("an app of the tests")
    written: dict[str, list[str]] = {"first": [], "second": []}
    logger.info("before")
    for name, lines in written.items():
        structlog.configure(
            processors=[structlog.processors.KeyValueRenderer(sort_keys=True)],
            logger_factory=lambda *_, lines=lines: _Lines(lines),
        )
        logger.bind(configured=name).info("after")
    assert written == {
        "first": ["configured='first' event='after'"],
        "second": ["configured='second' event='after'"],
    }


class _Lines:
    def __init__(self, lines: list[str]) -> None:
        self.info = lines.append
