"""What must be true of what runs: by itself, and beside a restart of the same files."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush
from typing import Any

from soaking.modules import closure
from soaking.notation import expression
from soaking.pictures import Picture
from soaking.workspace import Tree

READY = "ready"
_OF_ONE_PROCESS = {"serial", "setup", "ended", "worker", "wired", "error", "crashed"}


@dataclass
class Known:
    """What was done since the last quiet point, and what ran then.

    Attributes:
        ran: the picture of then.
        versions: those of every `plugin.py` that lay on disk then, or was saved since.
        removed: plugins that a folder stood for and then no longer, if only for a moment.
    """

    ran: Picture = field(default_factory=lambda: {"plugins": {}, "modules": {}})
    versions: set[str] = field(default_factory=set)
    removed: set[str] = field(default_factory=set)


def unsound(seen: Picture) -> Iterator[str]:
    """What is wrong with a picture, whatever the disk holds."""
    plugins: dict[str, dict[str, Any]] = seen["plugins"]
    ready = {ref: each for ref, each in plugins.items() if each["state"] == READY}
    for ref, each in plugins.items():
        if each["state"] not in {READY, "failed", "blocked"}:
            yield f"{ref} rests in the state {each['state']}"
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


def _wrong_order(ready: Mapping[str, dict[str, Any]]) -> Iterator[str]:
    """Setups of one reload that did not follow the rules for ties: priority, name, kind."""
    together: defaultdict[str, list[str]] = defaultdict(list)
    for ref, each in ready.items():
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


def differs(live: Picture, cold: Picture, tree: Tree, known: Known) -> Iterator[str]:
    """What of `live` is not what `cold`, a restart, and the past allow.

    The plugins fall into parts that have nothing to do with each other. Where all of a part can
    start, or nothing of it is pending, what runs is what a restart brings up. Elsewhere the last
    good generations run. What has crashed stays down until it is edited, whatever a restart does.
    """
    whole = True
    for part in _parts(live, cold, tree, known):
        claimed = [source.ref for source in tree.folders.values() if source.ref in part]
        unique = len(claimed) == len(set(claimed))
        crashed = any(live["plugins"].get(ref, {}).get("crashed") for ref in part)
        startable = unique and not crashed and all(_starts(ref, cold) for ref in claimed)
        whole = whole and startable
        pending = any(live["plugins"].get(ref, {}).get("pending") for ref in part)
        if startable or (unique and not crashed and not pending):
            yield from _unequal(part, live, cold, all_ready=startable)
        else:
            yield from _not_last_good(part, live, cold, tree, known, crashed=crashed)
    if whole and live["others"] != cold["others"]:
        yield f"threads and tasks: {_beside(live['others'], cold['others'])}"


def _starts(ref: str, cold: Picture) -> bool:
    """Whether a restart brings `ref` up, and nothing that it imports later fails to compile."""
    plugin = cold["plugins"].get(ref, {})
    if plugin.get("state") != READY:
        return False
    return bool(plugin["versions"].get("probe") != "SyntaxError")


def _parts(live: Picture, cold: Picture, tree: Tree, known: Known) -> list[set[str]]:
    """Disjoint: what depends on each other, or shares a folder, a name or code, live or on disk.

    So is what is held back by a failure and what fails by it after a restart. Beside the refs of
    plugins, the names of shared modules are in it.
    """
    links: list[list[str]] = []
    names: defaultdict[str, set[str]] = defaultdict(set)
    for ref in [*live["plugins"], *cold["plugins"], *(s.ref for s in tree.folders.values())]:
        names[ref.partition("/")[2]].add(ref)
    steady = _steady_packages(live, tree, known)
    for folder, source in tree.folders.items():
        mentioned = {want.rpartition("/")[2] for want in source.wants}
        links.append([source.ref, *(ref for name in mentioned for ref in names[name])])
        links += [
            [source.ref, ref] for ref, each in live["plugins"].items() if each["folder"] == folder
        ]
        links.append([source.ref, *(closure(source.shared, tree.modules) - steady)])
    for seen in (live, known.ran):
        for ref, each in seen["plugins"].items():
            shared = set(each.get("shared", ())) - steady
            links.append([ref, *each.get("depends_on", ()), *shared])
    links += [[ref] for ref in cold["plugins"]]
    links += _held_back(live, cold)
    parts: list[set[str]] = []
    for link in links:
        merged = set(link).union(*(part for part in parts if not part.isdisjoint(link)))
        parts = [part for part in parts if part.isdisjoint(link)] + [merged]
    return parts


def _held_back(live: Picture, cold: Picture) -> Iterator[list[str]]:
    """What is pending for one and the same failure, with whatever that is the failure of."""
    by_error: defaultdict[str, list[str]] = defaultdict(list)
    for ref, each in [*live["plugins"].items(), *cold["plugins"].items()]:
        if each["error"] is not None:
            by_error[each["error"]].append(ref)
    return iter(by_error.values())


def _steady_packages(live: Picture, tree: Tree, known: Known) -> set[str]:
    """Packages that run as they are on disk everywhere, so that they tie nobody together."""
    packages = {name.rpartition(".")[0] for name in tree.modules} - {""}
    return {
        name
        for name in packages
        if name in tree.modules
        and all(
            each.get("shared", {}).get(name) in ([f"{tree.modules[name].version:06}"], None)
            for seen in (live, known.ran)
            for each in seen["plugins"].values()
        )
    }


def _unequal(
    part: Iterable[str], live: Picture, cold: Picture, *, all_ready: bool
) -> Iterator[str]:
    for ref in sorted(part):
        one, other = _essence(ref, live), _essence(ref, cold)
        if not all_ready and _both_down(one, other):
            continue
        if one["state"] != other["state"]:
            yield f"{ref} is {one['state']}, after a restart {other['state']}"
        elif one != other:
            yield f"{ref}: {_beside(one, other)}"


def _both_down(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether neither runs, and only one is known by a name.

    A manifest that names no plugin, or the plugin of another folder, fails as what its folder
    was before, if it was anything.
    """
    if READY in {one["state"], other["state"]}:
        return False
    return "not there" in {one["state"], other["state"]}


def _essence(ref: str, seen: Picture) -> dict[str, Any]:
    """What a restart must give, too."""
    plugin = seen["plugins"].get(ref)
    if plugin is None:
        return {"state": "not there"}
    kind, _, name = ref.partition("/")
    inside = f".{kind}.{name}"
    return {key: value for key, value in plugin.items() if key not in _OF_ONE_PROCESS} | {
        "works": bool(plugin.get("worker")),
        # What is missing is named as it is written; what has gone, as it was called.
        "blocked_by": sorted({each.rpartition("/")[2] for each in plugin["blocked_by"]}),
        "modules": {
            module: version
            for module, version in seen["modules"].items()
            if module == inside or module.startswith(f"{inside}.")
        },
    }


def _not_last_good(
    part: set[str], live: Picture, cold: Picture, tree: Tree, known: Known, *, crashed: bool
) -> Iterator[str]:
    claimed = {source.ref for source in tree.folders.values()}
    removed = known.removed | (known.ran["plugins"].keys() - claimed)
    for ref in sorted(part):
        now, before = live["plugins"].get(ref), known.ran["plugins"].get(ref)
        if now is not None and now["state"] == READY:
            if now["pending"]:
                yield from _older_than_good(ref, now, before, known)
            else:
                yield from _not_from_disk(ref, now, cold["plugins"].get(ref, {}), tree)
        elif crashed or before is None or before["state"] != READY:
            continue
        elif part.isdisjoint(removed):
            state = now["state"] if now is not None else "not there"
            yield f"{ref} was ready, nothing was removed, and it is {state} now"


def _older_than_good(
    ref: str, now: dict[str, Any], before: dict[str, Any] | None, known: Known
) -> Iterator[str]:
    runs = now["versions"]["plugin"]
    ran = before is not None and before["state"] == READY
    good = known.versions | ({before["versions"]["plugin"]} if before and ran else set())
    if before is not None and runs not in good:
        yield f"{ref} runs version {runs}, older than the last good one"


def _not_from_disk(
    ref: str, now: dict[str, Any], restarted: dict[str, Any], tree: Tree
) -> Iterator[str]:
    runs = now["versions"]["plugin"]
    on_disk = tree.folders.get(now["folder"])
    if on_disk is None or (on_disk.ref, f"{on_disk.version:06}") != (ref, runs):
        yield f"{ref} runs version {runs} and is not pending; on disk is {expression(on_disk)}"
    for name, versions in now["shared"].items():
        module = tree.modules.get(name)
        there = [f"{module.version:06}"] if module else []
        if set(versions).isdisjoint([*there, "missing"]):
            told = expression(module)
            yield f"{ref} has {versions} of {name} and is not pending; on disk is {told}"
    if restarted.get("state") == READY:
        config, after = now["versions"].get("config"), restarted["versions"].get("config")
        if None not in (config, after) and config != after:
            yield f"{ref} has the configuration {config} and is not pending, not {after}"


def _beside(one: Any, other: Any) -> str:
    """What differs, live first."""
    if isinstance(one, dict) and isinstance(other, dict):
        keys = sorted(key for key in one.keys() | other.keys() if one.get(key) != other.get(key))
        return "; ".join(
            f"{key} is {one.get(key, '-')!r}, after a restart {other.get(key, '-')!r}"
            for key in keys
        )
    return f"{sorted(set(one) - set(other))} too much, {sorted(set(other) - set(one))} missing"
