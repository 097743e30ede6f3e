"""The orchestrator that every core has: units of work, run in this process (ADR-3)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

import anyio

from dagstack_dev.core.errors.base import PluginRegistryError, in_words
from dagstack_dev.core.errors.life import PluginCancelled
from dagstack_dev.core.manifest.fields import IdempotencyMode
from dagstack_dev.host.loop.tasks import is_stray
from dagstack_dev.host.plugins.sections import section_of
from dagstack_dev.host.services.context import derive_context_for_plugin

if TYPE_CHECKING:
    from dagstack_dev.host.plugins.entry import Entry
    from dagstack_dev.host.registry.registry import Registry
    from dagstack_dev.host.services.context import PluginContext
    from dagstack_dev.host.services.progress import Progress

_AGAIN: Final = ("failed", "expired")
"""The states that `backfill` runs again, unless others are named."""

_UNDER_WAY: Final = frozenset({"queued", "running"})
"""The states in which `backfill` leaves a unit alone, whichever are named."""

_COUNTING: Final = _UNDER_WAY | {"succeeded"}
"""The states in which a unit stands for later ones that are the same."""


class UnitRefused(PluginRegistryError):
    """A plugin that cannot be asked to do a unit of work; `ref` is the plugin, if there is one."""


@dataclass(slots=True)
class _Unit:
    entry: Entry
    args: dict[str, Any]
    key: str | None
    partition: str | None
    id: str = field(default_factory=lambda: str(uuid4()))
    state: str = "queued"
    enqueued_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    started_at: datetime | None = None
    finished_at: datetime | None = None
    progress: dict[str, Any] | None = None
    error: str | None = None


class LocalExecutorOrchestrator:
    """A plugin of kind `orchestrator` 1.0.0 that runs units of work in background tasks.

    Register it by hand: `registry.register_manifest(LocalExecutorOrchestrator.MANIFEST,
    LocalExecutorOrchestrator())`. Its methods take the payloads of the kind's hooks, with or
    without a context in front. A unit calls one hook of a plugin that declares
    `[plugin.unit_of_work]`, as `hook(ctx, args)`, through its proxy: it waits for reloads as any
    call does. `status` reports what `ctx.progress` was given. Units of one plugin and partition run
    one after the other, others side by side. What is unfinished at the teardown is `cancelled`;
    nothing outlives the process.

    Args:
        hook: what is called.
        limit: how many units may run at the same time.
        history: how many units that are over are remembered, for `status`, `backfill` and
            idempotency keys; beyond that the one that has been over for longest is forgotten.
    """

    MANIFEST: Final[Mapping[str, Any]] = {
        "name": "local",
        "kind": "orchestrator",
        "kind_api_version": "1.0.0",
        "core_version": ">=0.0.1.dev0",
        "runtime": "in_process",
        "entry_point": "orchestrator:LocalExecutorOrchestrator",
        "execution_model": "async",
        "in_process_only": True,
    }

    def __init__(self, *, hook: str = "execute", limit: int = 8, history: int = 10_000) -> None:
        self._hook = hook
        self._limit = limit
        self._history = history
        self._units: dict[str, _Unit] = {}
        self._over: dict[str, _Unit] = {}
        self._by_key: dict[tuple[str, str], _Unit] = {}

    async def setup(self, ctx: PluginContext) -> None:
        """Begin without any units."""
        self._ctx = ctx
        self._registry: Registry = ctx.registry
        self._units.clear()
        self._over.clear()
        self._by_key.clear()
        self._free = anyio.Semaphore(self._limit)
        self._turns: dict[tuple[str, str], anyio.Lock] = {}

    async def teardown(self) -> None:
        """Cancel what runs and waits, with the context's tasks."""
        for unit in [*self._units.values()]:
            if unit.state in _UNDER_WAY:
                self._end(unit, "cancelled")

    async def enqueue(self, *payload: Any) -> dict[str, Any]:
        """Have a plugin work on `args` (contract, section 14).

        Two units are the same, and the later one is the earlier one, when they have one
        `idempotency_key`; without it, for a plugin whose `idempotency_mode` is `input_hash`, when
        they have equal `args`. One that has not succeeded and is over does not count.

        Raises:
            KindUnknown, AmbiguousPlugin: `plugin_name`, a name or `kind/name`, is not one plugin.
            UnitRefused: the plugin does not declare that it does units of work.
            TypeError: `args` are no JSON, where they have to be compared.
        """
        asked = _payload(payload)
        entry = self._entry(asked["plugin_name"])
        work = entry.manifest.unit_of_work
        args = dict(asked.get("args") or {})
        key = asked.get("idempotency_key")
        if key is None and work.idempotency_mode is IdempotencyMode.INPUT_HASH:
            key = _hash(args)
        known = self._by_key.get((str(entry.ref), key)) if key is not None else None
        if known is not None and known.state in _COUNTING:
            return {"unit_id": known.id, "deduplicated": True}
        partition = asked.get("partition_key")
        if partition is None and work.partition_key is not None:
            partition = args.get(work.partition_key)
        unit = _Unit(entry, args, key, None if partition is None else str(partition))
        self._start(unit)
        return {"unit_id": unit.id, "deduplicated": False}

    async def status(self, *payload: Any) -> dict[str, Any]:
        """Return how a unit is doing (contract, section 14).

        Raises:
            UnitRefused: there is no such unit.
        """
        unit_id = _payload(payload)["unit_id"]
        unit = self._units.get(unit_id)
        if unit is None:
            raise UnitRefused(
                f"there is no unit {unit_id!r}; units do not outlive the process, and the "
                f"last {self._history} that are over are remembered"
            )
        details = {
            "started_at": unit.started_at and unit.started_at.isoformat(),
            "finished_at": unit.finished_at and unit.finished_at.isoformat(),
            "progress": unit.progress,
            "error": unit.error,
        }
        known = {name: value for name, value in details.items() if value is not None}
        return {"unit_id": unit.id, "state": unit.state, **known}

    async def backfill(self, *payload: Any) -> dict[str, Any]:
        """Run units again under their old ids, filtered by plugin, partition, state and time.

        `since` and `until` are ISO 8601 times of the enqueueing; without an offset they are UTC.
        A unit that is queued or running is left alone, whatever `states` says.
        """
        asked = _payload(payload)
        states = asked.get("states") or _AGAIN
        since, until = (_time(asked.get(name)) for name in ("since", "until"))
        again, skipped = [], 0
        for unit in self._units.values():
            meant = (
                asked.get("plugin_name") in {None, unit.entry.ref.name, str(unit.entry.ref)}
                and asked.get("partition_key") in {None, unit.partition}
                and (since is None or unit.enqueued_at >= since)
                and (until is None or unit.enqueued_at <= until)
            )
            if meant and unit.state in states and not self._is_under_way(unit):
                again.append(unit)
            else:
                skipped += 1
        for unit in again:
            self._over.pop(unit.id, None)
            unit.state, unit.error, unit.progress = "queued", None, None
            unit.started_at = unit.finished_at = None
            self._start(unit)
        return {"enqueued_count": len(again), "skipped_count": skipped}

    # Running

    def _entry(self, name: str) -> Entry:
        """Return the plugin of a name, or of `kind/name`, that does units of work."""
        kind, slash, rest = name.partition("/")
        proxy = self._registry.get_plugin(kind, rest) if slash else self._registry.resolve(name)
        ref = type(proxy).__dagstack_gate__.ref
        entry = self._registry.table.entries[ref]
        if not entry.manifest.unit_of_work.declared:
            raise UnitRefused(
                f"{ref} does no units of work; write declared = true below [plugin.unit_of_work]"
            )
        return entry

    def _is_under_way(self, unit: _Unit) -> bool:
        """Return whether it is, or a later unit of the same key is to do, or has done, the same."""
        if unit.state in _UNDER_WAY:
            return True
        if unit.key is None:
            return False
        latest = self._by_key.get((str(unit.entry.ref), unit.key), unit)
        return latest is not unit and latest.state in _COUNTING

    def _start(self, unit: _Unit) -> None:
        self._units[unit.id] = unit
        if unit.key is not None:
            self._by_key[str(unit.entry.ref), unit.key] = unit
        self._ctx.start_soon(self._run, unit, name=f"unit {unit.id} of {unit.entry.ref}")

    async def _run(self, unit: _Unit) -> None:
        """Wait for the partition's turn and a free place, then call the hook."""
        if unit.partition is None:
            await self._work(unit)
            return
        place = str(unit.entry.ref), unit.partition
        turn = self._turns.setdefault(place, anyio.Lock())
        async with turn:
            await self._work(unit)
        if not turn.locked():  # Nothing else waits for it.
            self._turns.pop(place, None)

    async def _work(self, unit: _Unit) -> None:
        async with self._free:
            unit.state, unit.started_at = "running", datetime.now(UTC)
            try:
                await self._call(unit)
            except Exception as error:  # noqa: BLE001 - a plugin may raise anything
                unit.error = in_words(error)
                self._end(unit, "failed")
            else:
                self._end(unit, "succeeded")

    async def _call(self, unit: _Unit) -> None:
        ref = unit.entry.ref
        entry = self._registry.table.entries[ref]
        proxy = self._registry.get_plugin(*ref)
        base = entry.context or self._ctx
        ctx = derive_context_for_plugin(
            replace(base, progress=_Reports(unit)), entry.manifest, self._registry.resources
        )
        ctx.config = section_of(entry, base)
        if entry.gate.closed:
            await entry.gate.pass_through()
        result = getattr(proxy, self._hook)(ctx, unit.args)
        if hasattr(type(result), "__await__"):
            try:
                await result
            except anyio.get_cancelled_exc_class() as error:
                if is_stray(error):
                    raise PluginCancelled(ref, self._hook) from error
                raise

    def _end(self, unit: _Unit, state: str) -> None:
        unit.state, unit.finished_at = state, datetime.now(UTC)
        self._over[unit.id] = unit
        if len(self._over) > self._history:
            oldest = self._over.pop(next(iter(self._over)))
            del self._units[oldest.id]
            place = str(oldest.entry.ref), oldest.key or ""
            if self._by_key.get(place) is oldest:
                del self._by_key[place]


class _Reports:
    """The `ProgressSink` of one unit."""

    def __init__(self, unit: _Unit) -> None:
        self._unit = unit

    def report(self, progress: Progress) -> None:
        self._unit.progress = {
            "current": progress.current,
            "total": progress.total,
            "message": progress.message,
        }

    def done(self) -> None:
        """Do nothing: the state of the unit shows it."""

    def error(self, exc: BaseException) -> None:
        self._unit.progress = {**(self._unit.progress or {}), "error": in_words(exc)}


def _payload(call: tuple[Any, ...]) -> Mapping[str, Any]:
    """Return the last argument: a dispatcher puts a context in front of it."""
    if not call or not isinstance(call[-1], Mapping):
        raise TypeError("a payload was expected: a mapping, as the hookspec of the kind tells")
    return call[-1]


def _hash(args: Mapping[str, Any]) -> str:
    text = json.dumps(args, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _time(text: str | None) -> datetime | None:
    if text is None:
        return None
    time = datetime.fromisoformat(text)
    return time if time.tzinfo is not None else time.replace(tzinfo=UTC)
