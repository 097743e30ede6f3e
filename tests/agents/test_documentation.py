"""An agent reads the pages of the installed version; no dev server has to run for that."""

from __future__ import annotations

from pathlib import Path

from mcp_clients import Agent, call, connected, door, refusal, text

from dagstack_dev import manual


async def test_pages_are_listed_read_and_searched(tmp_path: Path) -> None:
    async with connected("python", door(tmp_path)) as agent:
        listed = (await call(agent, "docs"))["places"]
        assert [(each["page"], each["title"], each["about"]) for each in listed] == [
            (each.name, each.title, each.summary) for each in manual.pages()
        ]
        for address in ("glossary", "docs/logs.md#traces"):
            answer = await agent.ask("call_tool", name="docs", arguments={"page": address})
            assert text(answer) == manual.read(address)
            assert answer["structuredContent"] == {"text": manual.read(address), "places": []}
        first = (await call(agent, "docs", search="what survives a reload"))["places"][0]
        assert first["page"] == "plugins#what-survives-a-reload"
        assert first["about"]
        assert await call(agent, "docs", search="xylophone") == {
            "text": "No page says 'xylophone'.",
            "places": [],
        }
        wrong = await refusal(agent, "docs", page="chek")
        assert wrong.startswith("there is no page 'chek'; did you mean 'checks'?")
        both = await refusal(agent, "docs", page="checks", search="skip")
        assert both == "ask for a page, or search all of them"
        await a_long_page_is_begun_and_its_sections_are_named(agent)


async def a_long_page_is_begun_and_its_sections_are_named(agent: Agent) -> None:
    first, *rest = manual.find("reliability")
    answer = await call(agent, "docs", page="reliability")
    assert answer["text"] == first.text.rstrip()
    assert [each["page"] for each in answer["places"]] == [each.address for each in rest]
    assert (await call(agent, "docs", page=rest[0].address))["text"] == rest[0].text.rstrip()
