"""Tells the weather: asks one plugin how warm it is, and another how to say so."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from dagstack_dev import PluginContext

LANGUAGE = "en"


class Weather(Protocol):
    async def temperature(self, *, city: str) -> float: ...


class Phrases(Protocol):
    async def weather_phrase(
        self, *, language: str, name: str, city: str, celsius: float
    ) -> str: ...


class Report:
    """Neither it nor its dependents can see that one dependency is a Node process, and the
    other a remote service."""

    _weather: Weather
    _phrases: Phrases
    _reader: str
    _city: str

    def setup(self, ctx: PluginContext) -> None:
        self._weather = ctx.registry.get_plugin("data", name="weather")
        self._phrases = ctx.registry.get_plugin("text", name="phrases")
        self._reader = ctx.config.get("reader", "world")
        self._city = ctx.config.get("city", "Paris")

    async def sentence(self) -> str:
        return await self._phrases.weather_phrase(
            language=LANGUAGE,
            name=self._reader,
            city=self._city,
            celsius=await self._weather.temperature(city=self._city),
        )
