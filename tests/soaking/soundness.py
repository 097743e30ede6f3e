"""What must be true of what runs by itself, whatever the disk holds."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from heapq import heapify, heappop, heappush
from typing import Any

from soaking.pictures import Picture

READY = "ready"


def unsound(seen: Picture) -> Iterator[str]:
    """What is wrong with a picture."""
    plugins: dict[str, dict[str, Any]] = seen["plugins"]
    ready = {ref: each for ref, each in plugins.items() if each["state"] == READY}
    yield from _mislabelled(plugins)
    for ref, each in ready.items():
        if sorted(each["wired"]) != sorted(each["depends_on"]):
            yield f"{ref} is wired to {sorted(each['wired'])}, not {each['depends_on']}"
        for other, serial in each["wired"].items():
            if other not in ready:
                yield f"{ref} runs although {other} does not"
            elif ready[other]["serial"] != serial:
                yield f"{ref} is wired to instance {serial} of {other}, which does not run"
            elif ready[other]["ended"] > each["ended"]:
                yield f"{ref} was set up before {other}, which it depends on"
        for other, version in each["borrowed"].items():
            if other in ready and ready[other]["versions"]["plugin"] != version:
                yield f"{ref} imported version {version} of {other}, which is not what runs"
        for name, versions in each["shared"].items():
            if each["pending"]:
                continue  # What it could not take, others may have taken.
            if len(versions) != 1 or versions[0].startswith("replaced"):
                yield f"{ref} has got of {name}: {', '.join(versions)}"
    yield from _wrong_order(ready)
    yield from _leftovers(seen, ready)


def _mislabelled(plugins: Mapping[str, dict[str, Any]]) -> Iterator[str]:
    """States that are none to rest in, and labels that contradict them."""
    for ref, each in plugins.items():
        state = each["state"]
        if state not in {READY, "failed", "blocked"}:
            yield f"{ref} rests in the state {state}"
        if each["pending"] and state != READY:
            yield f"{ref} is {state} and pending"
        if (each["error"] is not None) != (state == "failed" or each["pending"]):
            yield f"{ref} is {state}, pending is {each['pending']}, its error is {each['error']}"
        if (each["stage"] is not None) != (state == "failed"):
            yield f"{ref} is {state} at the stage {each['stage']}"
        if bool(each["blocked_by"]) != (state == "blocked"):
            yield f"{ref} is {state} by {each['blocked_by']}"
        for other in each["blocked_by"]:
            if plugins.get(other, {}).get("state") == READY:
                yield f"{ref} is blocked by {other}, which is ready"


def _wrong_order(ready: Mapping[str, dict[str, Any]]) -> Iterator[str]:
    """Setups of one reload that did not follow the rules for ties: priority, name, kind."""
    together: defaultdict[str, list[str]] = defaultdict(list)
    for ref, each in ready.items():
        if not each["setup"][0].endswith("again"):  # A roll-back keeps the order of before.
            together[each["setup"][0]].append(ref)
    for reload_id, refs in together.items():
        if any(ready[ref]["setup"][2] for ref in refs):
            continue  # Something waited, and others went ahead.
        began = sorted(refs, key=lambda ref: ready[ref]["setup"][1])
        expected = _in_order({ref: ready[ref] for ref in refs})
        if began != expected:
            yield f"in reload {reload_id} setups began in the order {began}, not {expected}"


def _in_order(plugins: Mapping[str, dict[str, Any]]) -> list[str]:
    def rank(ref: str) -> tuple[int, str, str]:
        kind, _, name = ref.partition("/")
        return -plugins[ref]["priority"], name, kind

    waits = {
        ref: {other for other in each["depends_on"] if other in plugins}
        for ref, each in plugins.items()
    }
    heap = [rank(ref) for ref, others in waits.items() if not others]
    heapify(heap)
    order = []
    while heap:
        _, name, kind = heappop(heap)
        order.append(f"{kind}/{name}")
        for ref, others in waits.items():
            if order[-1] in others:
                others.discard(order[-1])
                if not others:
                    heappush(heap, rank(ref))
    return order


def _leftovers(seen: Picture, ready: Mapping[str, dict[str, Any]]) -> Iterator[str]:
    workers = sorted(each["worker"] for each in ready.values() if each["worker"])
    if seen["workers"] != workers:
        yield f"threads and tasks of plugins: {seen['workers']}, not {workers}"
    for name, version in seen["modules"].items():
        parts = name.split(".")
        if len(parts) <= 2:  # The namespace itself, or that of a kind.
            continue
        owner = ready.get(f"{parts[1]}/{parts[2]}")
        if owner is None:
            yield f"sys.modules holds {name}, of a plugin that does not run"
            continue
        runs = owner["versions"].get("plugin" if parts[3:] == ["plugin"] else ".".join(parts[3:]))
        if version is not None and runs is not None and runs != version:
            yield f"sys.modules holds version {version} of {name}: {runs} runs"
