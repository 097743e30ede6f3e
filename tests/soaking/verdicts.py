"""What must be true of what runs beside a restart of the same files."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from soaking.modules import Flaw, closure
from soaking.notation import expression
from soaking.pictures import Picture
from soaking.soundness import READY
from soaking.sources import Fault, Source
from soaking.workspace import Tree

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
        there = [live["plugins"][ref] for ref in part & live["plugins"].keys()]
        crashed = any(each["crashed"] for each in there)
        # What does not compile is held back, though a restart may never come to import it.
        broken = any(name in part and m.flaw is Flaw.SYNTAX for name, m in tree.modules.items())
        startable = unique and not (crashed or broken) and all(_starts(r, cold) for r in claimed)
        whole = whole and startable
        past = crashed or any(each["pending"] for each in there) or _goes_on(part, live, cold)
        if startable or (unique and not past):
            yield from _unequal(part, live, cold, all_ready=startable)
        else:
            yield from _not_last_good(part, live, cold, tree, known)
            yield from _unlike_beside_the_same(part, live, cold, tree)
    if whole and live["others"] != cold["others"]:
        yield f"threads and tasks: {_beside(live['others'], cold['others'])}"


def _goes_on(part: Iterable[str], live: Picture, cold: Picture) -> bool:
    """Whether something of `part` runs code of another plugin that a restart cannot load."""
    up, restarted = (
        {ref for ref in each["plugins"] if _is_up(each["plugins"][ref])} for each in (live, cold)
    )
    return any(
        not restarted.issuperset(live["plugins"][ref]["borrowed"])
        for ref in (up - restarted).intersection(part)
    )


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
        mentioned = {each.rpartition("/")[2] for each in (*source.wants, *source.borrows)}
        links.append([source.ref, *(ref for name in mentioned for ref in names[name])])
        links += [
            [source.ref, ref] for ref, each in live["plugins"].items() if each["folder"] == folder
        ]
        links.append([source.ref, *(closure(source.shared, tree.modules) - steady)])
    for seen in (live, known.ran):
        for ref, each in seen["plugins"].items():
            shared = set(each.get("shared", ())) - steady
            needed = (*each.get("depends_on", ()), *each.get("borrowed", ()))
            links.append([ref, *needed, *shared])
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
    """Packages that run as they are on disk everywhere, so that they tie no plugins together."""
    packages = {name.rpartition(".")[0] for name in tree.modules} & {*live["packages"]}
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
    part: set[str], live: Picture, cold: Picture, tree: Tree, known: Known
) -> Iterator[str]:
    claimed = {source.ref for source in tree.folders.values()}
    gone = known.removed | (known.ran["plugins"].keys() - claimed)
    gone |= {ref for ref, each in live["plugins"].items() if each["crashed"]}
    runs_from = _runs_from(live)
    claims = Counter(s.ref for s in tree.folders.values() if s.fault is not Fault.TOML)
    # Renamed, some time ago, to one that has come up or moved only now; nobody owns the name.
    gone |= {
        ref
        for ref, each in known.ran["plugins"].items()
        if claims[ref] != 1
        and (runs_from.get(each["folder"], ref) != ref or each["folder"] not in tree.folders)
    }
    for ref in sorted(part):
        now, before = live["plugins"].get(ref), known.ran["plugins"].get(ref)
        if now is not None and _is_up(now):
            if now["pending"]:
                yield from _older_than_good(ref, now, before, known)
            else:
                yield from _not_from_disk(ref, now, cold["plugins"].get(ref, {}), tree)
        elif before is None or not _is_up(before):
            continue
        elif gone.isdisjoint(_needed(ref, (known.ran,), tree)):
            state = now["state"] if now is not None else "not there"
            yield f"{ref} was ready, nothing that it needs was removed, and it is {state} now"


def _unlike_beside_the_same(
    part: set[str], live: Picture, cold: Picture, tree: Tree
) -> Iterator[str]:
    """What a restart has up, or labels otherwise, beside the very neighbours that run.

    Left out is what has crashed, what several folders claim, what runs from another.
    """
    claims = Counter(source.ref for source in tree.folders.values())
    runs_from = _runs_from(live)
    for folder, source in sorted(tree.folders.items()):
        ref = source.ref
        now, restarted = live["plugins"].get(ref), cold["plugins"].get(ref)
        if ref not in part or now is None or restarted is None or now["crashed"]:
            continue
        moves = _is_up(now) and now["folder"] != folder and now["folder"] in tree.folders
        if claims[ref] > 1 or moves or runs_from.get(folder, ref) != ref:
            continue
        if _has_the_same_neighbours(source, live, cold, tree):
            yield from _unlike(ref, live, cold)


def _has_the_same_neighbours(source: Source, live: Picture, cold: Picture, tree: Tree) -> bool:
    """Whether all that `source` needs is what a restart has."""
    needed = _needed(source.ref, (live, cold), tree) - {source.ref}
    reached = closure(source.shared, tree.modules)
    if any(tree.modules[name].flaw is Flaw.SYNTAX for name in reached & tree.modules.keys()):
        return False  # It is held back, though what runs may not tell, or never have loaded it.
    if reached & {*live["packages"]} != reached & {*cold["packages"]}:
        return False  # Of what is no module of its own, or lies in another file, no version tells.
    for other in (each for each in tree.folders.values() if each.ref != source.ref):
        versions = live["plugins"].get(other.ref, {}).get("versions", {})
        if "probe" in versions and reached & closure(other.shared, tree.modules):
            return False  # Its call fails, so that it does not tell what it runs of that.
    return all(_essence(ref, live) == _essence(ref, cold) for ref in needed) and all(
        versions == [f"{tree.modules[name].version:06}" if name in tree.modules else "missing"]
        for each in live["plugins"].values()
        for name, versions in each.get("shared", {}).items()
        if name in reached
    )


def _unlike(ref: str, live: Picture, cold: Picture) -> Iterator[str]:
    now, restarted = live["plugins"][ref], cold["plugins"][ref]
    if not _is_up(now):
        one, other = _essence(ref, live), _essence(ref, cold)
        if one != other:
            yield f"{ref}, beside the same neighbours: {_beside(one, other)}"
    elif not now["pending"]:
        return
    elif _is_up(restarted):
        if not any(ref in each.get("wired", ()) for each in live["plugins"].values()):
            yield f"{ref} is held back for nothing, by {now['error']}"
    elif not _is_the_reason(now["kind"], restarted["kind"]):
        yield f"{ref} is pending by {now['error']}, a restart has {restarted['error']}"


def _is_the_reason(why_pending: list[str], why_down: list[str]) -> bool:
    """Whether a plugin is pending for what it is failed for, or blocked, after a restart."""
    if why_down:
        return why_pending == why_down
    return why_pending[0] in {"DependencyMissing", "DependencyBlocked", "DependencyCycle"}


def _needed(ref: str, pictures: Iterable[Picture], tree: Tree) -> set[str]:
    """`ref`, and everything that it needs, directly or not, as it is on disk or runs."""
    needs: defaultdict[str, set[str]] = defaultdict(set)
    for source in tree.folders.values():
        needs[source.ref] |= {*source.wants, *source.borrows}
    for seen in pictures:
        for each, plugin in seen["plugins"].items():
            needs[each] |= {*plugin.get("depends_on", ()), *plugin.get("borrowed", ())}
    found, todo = {ref}, [ref]
    while todo:
        wants = needs[todo.pop()]
        new = {other for other in needs if not wants.isdisjoint({other, other.partition("/")[2]})}
        todo += new - found
        found |= new
    return found


def _runs_from(seen: Picture) -> dict[str, str]:
    """What runs, by its folder."""
    return {each["folder"]: ref for ref, each in seen["plugins"].items() if _is_up(each)}


def _is_up(plugin: Mapping[str, Any]) -> bool:
    return bool(plugin["state"] == READY)


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
