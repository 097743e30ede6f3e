"""All tools: one table, used over stdio and HTTP alike."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from dagstack_dev.agents.commands import COMMAND_TOOLS
from dagstack_dev.agents.documentation import DOCS_TOOLS
from dagstack_dev.agents.looking import LOOKING_TOOLS
from dagstack_dev.agents.plugin_tools import PLUGIN_TOOLS
from dagstack_dev.agents.receipts import RECEIPT_TOOLS
from dagstack_dev.agents.wrong import WRONG_TOOLS

if TYPE_CHECKING:
    from dagstack_dev.agents.tool import Tool

TOOLS: Final[tuple[Tool, ...]] = (
    *RECEIPT_TOOLS,
    *WRONG_TOOLS,
    *LOOKING_TOOLS,
    *COMMAND_TOOLS,
    *PLUGIN_TOOLS,
    *DOCS_TOOLS,
)
