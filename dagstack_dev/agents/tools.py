"""All tools: one table, used over stdio and HTTP alike."""

from __future__ import annotations

from typing import Final

from dagstack_dev.agents.commands import check, run_tests, why
from dagstack_dev.agents.documentation import docs
from dagstack_dev.agents.looking import graph, logs, status
from dagstack_dev.agents.plugin_tools import call_plugin, list_plugin_tools
from dagstack_dev.agents.receipts import reload, wait_for_reload
from dagstack_dev.agents.tool import Tool
from dagstack_dev.agents.wrong import last_error

TOOLS: Final = (
    Tool(
        "wait_for_reload",
        "Call this after each edit: waits until all that is saved has been reloaded, and answers "
        "with the receipt: what was reloaded, what was rejected or rolled back, with error, place "
        "and what runs instead.",
        wait_for_reload,
    ),
    Tool(
        "reload",
        "Reloads plugins although nothing changed, and answers with the receipt. An edit needs no "
        "reload: call wait_for_reload.",
        reload,
        changes=True,
    ),
    Tool(
        "last_error",
        "What is wrong with plugins now: the error, the place in their code with the lines around "
        "it, what runs instead. If nothing is, the last error of a reload.",
        last_error,
    ),
    Tool(
        "status",
        "The dev server and its plugins: which run what is on disk, and why others do not.",
        status,
    ),
    Tool("graph", "Which plugin depends on which: what an edit of one also reloads.", graph),
    Tool("logs", "What plugins and the dev server have logged, the newest last.", logs),
    Tool(
        "check",
        "Finds what is wrong with plugins from their text, before anything runs: manifests, "
        "dependencies, configuration, imports that fail.",
        check,
    ),
    Tool("why", "What a save of a file would reload, and by which imports and dependencies.", why),
    Tool(
        "run_tests",
        "Tests each plugin against the contract, and by its own tests, in a process of its own.",
        run_tests,
        changes=True,
    ),
    Tool(
        "list_plugin_tools",
        "What the plugins offer to be called: methods, and tools of those that are MCP servers, "
        "with descriptions and schemas.",
        list_plugin_tools,
    ),
    Tool(
        "call",
        "Calls a method of a plugin, or a tool of one that is an MCP server, as an app would. "
        "During a reload the call waits for the new code.",
        call_plugin,
        changes=True,
    ),
    Tool(
        "docs",
        "The documentation of dagstack-dev, as of the installed version: all pages, one page or "
        "section, or the sections about some words.",
        docs,
    ),
)
