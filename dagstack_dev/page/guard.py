"""Who may see the dev page, and what a browser may do with it.

Any program of this machine can connect to a port, and any web page can make a browser do so. What
tells the owner's page from them:

- *Host*: a name that an attacker has pointed to 127.0.0.1 (DNS rebinding) is none of ours.
- *Origin* and *Sec-Fetch-Site*: what another site has a browser send says so.
- *The token*: only who has read the address knows it. A browser exchanges it for two secrets, and
  needs both: a cookie that no script can read and that no other site can have sent, but that goes
  to all ports of a host; and one that only pages of this origin can read, and send as a header.

Coding agents have a token of their own. It opens their tools, and nothing else does.
"""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qs

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response

from dagstack_dev.api.problems import Kind, ProblemFound
from dagstack_dev.page.access import AGENTS_PATH

if TYPE_CHECKING:
    from collections.abc import Iterator

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from dagstack_dev.page.access import Access

HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
        "img-src 'self' data:; frame-ancestors 'none'; base-uri 'none'; form-action 'none'; "
        "require-trusted-types-for 'script'; trusted-types 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    # A trace is handed to the tab of its viewer, so the page has to keep hold of what it opens.
    "Cross-Origin-Opener-Policy": "same-origin-allow-popups",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
"""Of every answer."""

FOREIGN = Kind("foreign", "The request does not come from the dev page", 403)
NOT_ADMITTED = Kind("not-admitted", "The token is missing", 401)

_HOW: Final = (
    "open the address with the token: press o where the server runs, or run: dagstack-dev page"
)

_HOW_AGENTS: Final = (
    "send the header Authorization: Bearer TOKEN, with the token for agents; it is new in each run "
    "of the server, and printed by: dagstack-dev page --agents"
)

_READING: Final = ("GET", "HEAD")

_ADMISSION: Final = (
    '<!doctype html><meta charset="utf-8"><title>dagstack-dev</title>'
    '<meta name="origin-secret" content="{secret}">'
    '<script type="module" src="admission.js"></script>'
    "<noscript>This page needs JavaScript.</noscript>\n"
)
"""Goes on to the address without the token, which so leaves no trace in the history of the tab."""


class Guard:
    """An ASGI app that lets requests of the dev page through, and no others.

    Args:
        access: what lets a browser in.
        api: answers below `/api/`, where both secrets are needed, or the token.
        agents: answers coding agents, who need a token of their own.
        files: answers everywhere else; it holds nothing that is secret.
    """

    def __init__(self, access: Access, api: ASGIApp, agents: ASGIApp, files: ASGIApp) -> None:
        self._access = access
        self._api = api
        self._agents = agents
        self._files = files

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        headers = Headers(scope=scope)
        is_for_agents = scope["path"] == AGENTS_PATH
        is_api = is_for_agents or scope["path"].startswith("/api/")
        answer: ASGIApp | Response
        try:
            self._refuse_foreign(scope, headers, is_api=is_api)
            if is_for_agents:
                self._refuse_unknown_agent(headers)
                answer = self._agents
            elif is_api:
                self._refuse_unknown(scope, headers)
                answer = self._api
            else:
                answer = self._admission(scope, headers) or self._files
        except ProblemFound as problem:
            answer = problem.response() if is_api else _page(problem)
            if problem.kind is NOT_ADMITTED:
                answer.headers["WWW-Authenticate"] = "Bearer"
        await answer(scope, receive, send_guarded)

    def _refuse_foreign(self, scope: Scope, headers: Headers, *, is_api: bool) -> None:
        """Refuse what is addressed to another host, or comes from another site.

        Raises:
            ProblemFound: it does.
        """
        host = headers.get("host")
        if host not in self._access.hosts:
            raise ProblemFound(FOREIGN, f"this is not the address of the page: {self._access.url}")
        origin = headers.get("origin")
        if origin is not None and origin != f"http://{host}":
            raise ProblemFound(FOREIGN, "another site may not ask this server")
        # A link may lead here from anywhere; what it opens is a tab of its own.
        is_link = (
            not is_api
            and scope["method"] in _READING
            and headers.get("sec-fetch-mode") == "navigate"
            and headers.get("sec-fetch-dest") == "document"
        )
        site = headers.get("sec-fetch-site", "same-origin")
        if site not in {"same-origin", "none"} and not is_link:
            raise ProblemFound(FOREIGN, "another site may not ask this server")

    def _refuse_unknown_agent(self, headers: Headers) -> None:
        """Refuse what does not have the token for agents.

        Raises:
            ProblemFound: it does not.
        """
        if not _has_token(headers, self._access.agents_token):
            raise ProblemFound(NOT_ADMITTED, _HOW_AGENTS)

    def _refuse_unknown(self, scope: Scope, headers: Headers) -> None:
        """Refuse what has neither both secrets of the page nor the token.

        Raises:
            ProblemFound: it does not, or changes something and does not say where it is from.
        """
        if _has_token(headers, self._access.token):
            return
        secret = headers.get("origin-secret", "")
        if not (self._has_cookie(headers) and _equal(secret, self._access.origin_secret)):
            raise ProblemFound(NOT_ADMITTED, _HOW)
        if scope["method"] not in _READING and "origin" not in headers:
            raise ProblemFound(FOREIGN, "a change needs the header Origin")

    def _admission(self, scope: Scope, headers: Headers) -> Response | None:
        """Return what exchanges the token for the two secrets; None where there is no token.

        Raises:
            ProblemFound: the token is wrong.
        """
        tokens = parse_qs(scope["query_string"].decode("latin-1")).get("token")
        if scope["path"] != "/" or not tokens:
            return None
        access = self._access
        if not _equal(tokens[0], access.token):
            if self._has_cookie(headers):  # An old bookmark.
                return RedirectResponse("/", 303)
            raise ProblemFound(NOT_ADMITTED, f"this one is of an earlier run; {_HOW}")
        answer = HTMLResponse(_ADMISSION.format(secret=access.origin_secret))
        answer.set_cookie(access.cookie, access.session, httponly=True, samesite="strict")
        # Another user's server may have been here while ours was not, and left a page behind.
        answer.headers["Clear-Site-Data"] = '"cache", "storage"'
        return answer

    def _has_cookie(self, headers: Headers) -> bool:
        """Return whether the cookie is there; another port may have set others of its name."""
        return any(_equal(each, self._access.session) for each in self._cookies(headers))

    def _cookies(self, headers: Headers) -> Iterator[str]:
        for header in headers.getlist("cookie"):
            for each in header.split(";"):
                name, _, value = each.strip().partition("=")
                if name == self._access.cookie:
                    yield value


def _has_token(headers: Headers, token: str) -> bool:
    """Return whether the token is there, as programs other than browsers send it."""
    scheme, _, given = headers.get("authorization", "").partition(" ")
    return scheme.lower() == "bearer" and _equal(given.strip(), token)


def _equal(given: str, secret: str) -> bool:
    """Return whether they are equal, in a time that does not tell how much is."""
    return hmac.compare_digest(given.encode(), secret.encode())


def _page(problem: ProblemFound) -> Response:
    text = f"dagstack-dev: {problem.kind.title.lower()}\n\n{problem.detail}\n"
    return PlainTextResponse(text, problem.kind.status)
