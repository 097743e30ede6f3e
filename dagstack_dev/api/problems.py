"""Problems as answers: `application/problem+json` (RFC 9457)."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from starlette.responses import JSONResponse


class Kind(NamedTuple):
    """A kind of problem: its stable name, what it means, and the status that it has."""

    name: str
    title: str
    status: int


BAD_REQUEST = Kind("bad-request", "The request cannot be understood", 400)
NOT_FOUND = Kind("not-found", "There is nothing at this address", 404)
NO_SUCH_PLUGIN = Kind("no-such-plugin", "There is no such plugin", 404)
NO_SUCH_RELOAD = Kind("no-such-reload", "There is no such reload, or it is forgotten", 404)
NO_SUCH_FILE = Kind("no-such-file", "There is no such file of the plugins", 404)
NOT_CALLABLE = Kind("not-callable", "The plugin cannot be called now", 409)
PAUSED = Kind("paused", "Edits wait until the server is resumed", 409)
UNAVAILABLE = Kind("unavailable", "The server has no means to do it", 409)
TIMED_OUT = Kind("timed-out", "It has not ended in time", 504)
ENDING = Kind("ending", "The server ends", 503)
DEFECT = Kind("defect", "A defect of dagstack-dev", 500)


class ProblemFound(Exception):
    """Answers a request with a problem.

    Args:
        kind: of the problem.
        detail: what is wrong, and what to do.
        argument: of a method, that does not fit.
        example: a text that would fit in its place.
    """

    def __init__(
        self, kind: Kind, detail: str, *, argument: str | None = None, example: str | None = None
    ) -> None:
        super().__init__(detail)
        self.kind = kind
        self.detail = detail
        self.argument = argument
        self.example = example

    def response(self) -> JSONResponse:
        """Return the answer."""
        from starlette.responses import JSONResponse  # noqa: PLC0415 - slow to import

        from dagstack_dev.api.models.base import Problem  # noqa: PLC0415 - likewise

        name, title, status = self.kind
        problem = Problem(
            type=name,
            title=title,
            status=status,
            detail=self.detail,
            argument=self.argument,
            example=self.example,
        )
        return JSONResponse(
            problem.model_dump(mode="json"), status, media_type="application/problem+json"
        )


class ServerEnded(ProblemFound):
    """Nothing can be called in the event loop of the plugins any more."""

    def __init__(self) -> None:
        super().__init__(ENDING, "the server ends")
