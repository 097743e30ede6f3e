"""What has become of an edit: `wait_for_reload` and `reload`, which answer with a receipt."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Final

from pydantic import AfterValidator, Field

from dagstack_dev.agents.tool import (
    Answer,
    Arguments,
    Call,
    Name,
    Part,
    ToolProblem,
    present,
)
from dagstack_dev.agents.wrong import Wrong, what_is_wrong
from dagstack_dev.api.client import ApiError
from dagstack_dev.core.wording import listed

_MOST_RELOADS: Final = 20
_MOST_NAMES: Final = 200

Names = Annotated[list[Name], AfterValidator(lambda names: names[:_MOST_NAMES])]
"""The first of maybe ten thousand."""


class Reload(Part):
    """A reload that has ended."""

    id: int
    outcome: str = Field(
        description="committed: the edit runs; rolled_back: what ran before runs again; failed: "
        "plugins are down; skipped: there was nothing to apply, or it was rejected."
    )
    ended: datetime
    duration_ms: float
    paths: Names = Field(description="The files that had changed.")
    changed: Names = Field(description="The plugins of these files.")
    affected: Names = Field(description="All plugins that it touched.")
    reason: str | None = Field(None, description="Why there was nothing to do.")

    def in_words(self) -> str:
        """Return it as a line."""
        how = self.outcome.replace("_", " ")
        touched = [each for each in self.affected if each not in self.changed]
        return present(
            f"reload {self.id} {how} in {self.duration_ms:.0f} ms",
            self.changed and f"changed: {listed(self.changed)}",
            touched and f"also touched: {listed(touched)}",
            self.reason,
            by="; ",
        )


class Receipt(Answer):
    """What has been reloaded since the last receipt, and what is wrong now."""

    is_current: bool = Field(description="Every plugin runs what is on disk.")
    has_ended: bool = Field(description="False if something was still under way at the timeout.")
    reloads: list[Reload] = Field(
        description="Those since the last receipt, or since `after`, the newest last; of very "
        "many, the last 20."
    )
    last_reload: Reload | None = Field(
        None, description="Where there are none: the last one, which was reported before."
    )
    wrong: list[Wrong] = Field(description="What does not run as it is on disk, and why.")
    remark: str | None = Field(None, description="What else keeps it from being current.")

    def in_words(self) -> str:
        """Return the verdict, each reload, and all that is wrong."""
        if self.is_current:
            verdict = "Everything that is on disk runs."
        else:
            verdict = "Not everything that is on disk runs."
        return present(
            verdict,
            self.remark,
            *(each.in_words() for each in self.reloads),
            not self.reloads and "There are no new reloads.",
            self.last_reload and f"The last: {self.last_reload.in_words()}",
            *(each.in_words() for each in self.wrong),
        )


class WaitArguments(Arguments):
    """How long to wait, and what is news."""

    timeout_seconds: float = Field(60.0, gt=0, le=3600)
    after: int | None = Field(
        None,
        ge=0,
        description="The id of the last reload that you have been told of: later ones are in the "
        "receipt. By default, those that this session has not been told of; over HTTP, agents "
        "whose programs have the same name may share one, and so need this.",
    )


class ReloadArguments(WaitArguments):
    """Which plugins."""

    plugins: list[str] = Field(
        default_factory=list, description="As kind/name, or the name alone where only one has it."
    )
    everything: bool = Field(default=False, description="All plugins instead.")


async def wait_for_reload(call: Call, arguments: WaitArguments) -> Receipt:
    """Wait until all that is on disk now has been dealt with."""
    return await _receipt(call, arguments.after, timeout_seconds=arguments.timeout_seconds)


async def reload(call: Call, arguments: ReloadArguments) -> Receipt:
    """Reload plugins although nothing changed.

    Raises:
        ToolProblem: none is named.
    """
    if not arguments.plugins and not arguments.everything:
        raise ToolProblem(
            "name plugins, or say everything: true; wait_for_reload takes in what is on disk"
        )
    return await _receipt(
        call,
        arguments.after,
        plugins=[await call.ref(each) for each in arguments.plugins],
        everything=arguments.everything,
        timeout_seconds=arguments.timeout_seconds,
    )


async def _receipt(call: Call, after: int | None, **request: object) -> Receipt:
    """Have the server do what is requested, and return what has become of it.

    Args:
        call: of the tool.
        after: the id of a reload, from which on they are news; None for what the session knows.
        request: the fields of `POST /api/reload`.

    Raises:
        As `Connection.ask`.
    """
    remark = None
    try:
        status = await call.post("reload", **request)
    except ApiError as error:
        if error.problem.get("type") != "timed-out":
            raise
        remark = f"{error}; what is under way goes on, so wait again"
        status = None
    found = (await call.get("reloads", limit=_MOST_RELOADS))["reloads"]
    reloads = [Reload.model_validate(each) for each in found]
    if after is None:
        new = [each for each in reloads if each.ended > call.session.seen]
    else:  # One that there is not yet was of a server before this one.
        known = after if any(each.id >= after for each in reloads) else 0
        new = [each for each in reloads if each.id > known]
    call.session.seen = max([call.session.seen, *(each.ended for each in new)])
    return Receipt(
        is_current=status is not None and status["is_current"],
        has_ended=status is not None,
        reloads=new,
        last_reload=reloads[-1] if reloads and not new else None,
        wrong=await what_is_wrong(call),
        remark=remark,
    )
