"""The plugins the site is made of, described by what it needs of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from dagstack_dev import PluginContext


class Counters(Protocol):
    def count(self, event: str) -> None: ...
    def snapshot(self) -> dict[str, int]: ...


class Greeter(Protocol):
    async def greet(self) -> str: ...


class Library(Protocol):
    def titles(self) -> dict[str, str]: ...
    def html(self, name: str) -> str: ...


class Settings(Protocol):
    async def get(self, key: str, default: str = ...) -> str: ...
    async def set(self, key: str, value: str) -> None: ...
    async def all(self) -> dict[str, str]: ...


class Theme(Protocol):
    async def render(self, title: str, body: str, footer: str) -> str: ...
    def style(self) -> str: ...


class WordIndex(Protocol):
    """Runs in worker threads: what is a plain method there is awaited here."""

    async def search(self, query: str) -> list[str]: ...
    async def statistics(self) -> dict[str, str]: ...


@dataclass(frozen=True)
class Services:
    counters: Counters
    greeter: Greeter
    documents: Library
    settings: Settings
    theme: Theme
    word_index: WordIndex

    @classmethod
    def of(cls, ctx: PluginContext) -> Services:
        get = ctx.registry.get_plugin
        return cls(
            counters=get("metrics", name="counters"),
            greeter=get("job", name="greeter"),
            documents=get("content", name="library"),
            settings=get("store", name="settings"),
            theme=get("web", name="theme"),
            word_index=get("text", name="word_index"),
        )
