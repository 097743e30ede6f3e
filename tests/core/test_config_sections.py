"""Tables of a configuration that were meant for a plugin."""

from __future__ import annotations

import pytest
import tomli

from dagstack_dev.core.config import ConfigDocument, belongs_to_none, misspelt_sections
from dagstack_dev.core.refs import PluginRef

PLUGINS = [PluginRef("tool", "mailer"), PluginRef("tool", "v1.search"), PluginRef("llm", "openai")]


def said(text: str) -> list[str]:
    config = ConfigDocument(tomli.loads(text), path="config.toml", text=text)
    found = misspelt_sections(config, PLUGINS).items()
    return [belongs_to_none(table, meant, config.line_of(table)) for table, meant in found]


SAYS = {
    "a name": (
        "[tool.mailler]\nport = 25\n",
        "[tool.mailler] in line 1 belongs to no plugin; did you mean [tool.mailer]?",
    ),
    "a name with a dot": (
        '\n[tool."v1.serch"]\n',
        '[tool."v1.serch"] in line 2 belongs to no plugin; did you mean [tool."v1.search"]?',
    ),
    "a kind": (
        "# ours\n[tools]\nmailer = { port = 25 }\n",
        "[tools.mailer] in line 3 belongs to no plugin; did you mean [tool.mailer]?",
    ),
}


@pytest.mark.parametrize(("text", "says"), SAYS.values(), ids=SAYS.keys())
def test_a_table_that_resembles_a_section_is_reported(text: str, says: str) -> None:
    assert said(text) == [says]


SILENT = {
    "sections": "[tool.mailer]\n[llm.openai]\n",
    "a table that resembles nothing": "[tool.database]\n[app.mail]\n",
    "the name of another kind": "[llm.mailler]\n",
    "a value": "[tool]\nmailler = 1\n",
    "another kind and another name": "[tools.mailler]\n",
    "a neighbour that has a section": "[tool.mailer]\n[tool.mailer2]\n",
    "nothing": "",
}


@pytest.mark.parametrize("text", SILENT.values(), ids=SILENT.keys())
def test_a_table_that_may_be_meant_otherwise_is_not(text: str) -> None:
    assert said(text) == []
