"""What is wrong, from root causes on: which plugins fail how, and what waits for them."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from dagstack_dev.api.board import Breath
from dagstack_dev.api.models.base import Failure, Failures
from dagstack_dev.api.reports import account_report, error_report
from dagstack_dev.core.lifecycle import State
from dagstack_dev.core.manifest.parsing import line_in
from dagstack_dev.core.refs import PluginRef, did_you_mean
from dagstack_dev.disk.accounts import Part, PartKind, account, place

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from dagstack_dev.core.lifecycle import PluginStatus
    from dagstack_dev.core.snapshot import ServerSnapshot


async def failures_report(snapshot: ServerSnapshot) -> Failures:
    """Return what is wrong; plugins of which the same is to be said share one failure."""
    breath = Breath()
    blocks: defaultdict[PluginRef | str, list[PluginRef]] = defaultdict(list)
    alike: defaultdict[object, list[tuple[PluginStatus, list[Part]]]] = defaultdict(list)
    for ref, plugin in snapshot.plugins.items():
        await breath.draw()
        status = plugin.status
        if status.state is State.BLOCKED:
            blocks[snapshot.receipt(ref).chain[-1]].append(ref)
        elif status.error is not None:
            parts = account(status.error, str(ref))
            # The same mistake in shared code has been reached from lines of each.
            same = (each for each in parts if each.kind is not PartKind.CALLER)
            alike[_title(status), *same].append((status, parts))
    refused = [
        Failure(
            path=path,
            title="cannot be used",
            error=error_report(error),
            account=account_report(account(error)),
        )
        for path, error in snapshot.refused.items()
    ]
    failed = [
        Failure(
            plugins=[str(each.ref) for each, _ in group],
            title=_title(status),
            error=error_report(status.error),
            running={
                str(each.ref): each.generation for each, _ in group if each.state is State.READY
            },
            account=account_report(parts),
            blocks=[str(ref) for each, _ in group for ref in blocks.get(each.ref, ())],
        )
        for group in alike.values()
        for status, parts in group[:1]
    ]
    missing = [
        Failure(
            path=name,
            title="does not exist",
            account=account_report(_no_such_plugin(name, waiting, snapshot)),
            blocks=[*map(str, waiting)],
        )
        for name, waiting in blocks.items()
        if isinstance(name, str)
    ]
    return Failures(failures=[*refused, *failed, *missing])


def _title(status: PluginStatus) -> str:
    if status.pending:
        return "does not run what is on disk"
    if status.degraded:
        return "is degraded"
    return status.stage.failure if status.stage is not None else "failed"


def _no_such_plugin(
    name: str, waiting: Iterable[PluginRef], snapshot: ServerSnapshot
) -> Iterator[Part]:
    known = [word for ref in snapshot.plugins for word in (str(ref), ref.name)]
    yield Part(PartKind.MESSAGE, f"no plugin has this name{did_you_mean(name, known)}")
    for plugin in map(snapshot.plugins.__getitem__, waiting):
        source = plugin.running.source
        if source is None or name not in plugin.status.blocked_by:
            continue  # It was registered by hand, or waits for one that waits.
        if line := line_in(source, "depends_on", name):
            yield place(source.manifest_path, line)
            return
