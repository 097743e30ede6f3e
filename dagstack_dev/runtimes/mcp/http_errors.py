"""What may be the matter with a server that is reached over HTTP, in words for a person.

No secret gets into them: of a URL they show no more than scheme, host, port and path, and of what
a server answers only its status.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import Enum, auto
from http import HTTPStatus
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from dagstack_dev.core.blame import related
from dagstack_dev.core.errors.base import in_words
from dagstack_dev.core.errors.remote import HandshakeFailed, ServerLost
from dagstack_dev.runtimes.mcp.wire import NoAnswer

if TYPE_CHECKING:
    from dagstack_dev.core.refs import PluginRef
    from dagstack_dev.runtimes.mcp.http_proxy import Proxy

GATEWAY: Final = frozenset({502, 503, 504})
"""Statuses by which something in between says that it cannot reach the server just now."""

_LATER: Final = frozenset({408, 425, 429})
"""Statuses below 500 by which a server says that it may be asked again."""


def is_later(status: int) -> bool:
    """Return whether a server may answer otherwise when it is asked again."""
    return status in _LATER or status >= HTTPStatus.INTERNAL_SERVER_ERROR


class Severity(Enum):
    """How much of a connection an error ends."""

    ANSWER = auto()  # This one request has failed.
    CONNECTION = auto()  # It broke; whether the server is still there has to be looked up.
    SERVER = auto()  # The server is gone, or another one than we have a session with.


@dataclass(eq=False)
class HttpError(NoAnswer):
    """A request was not answered as an MCP server does.

    Attributes:
        reason: one line that says what happened, and what to do where that is known.
        severity: how much it ends.
        is_transient: whether it may work when it is tried again, though nothing was edited.
        status: of the response, if that says it.
        retry_after: in how many seconds, where the server says so.
        is_unsent: whether the request cannot have arrived.
    """

    reason: str
    severity: Severity = Severity.ANSWER
    is_transient: bool = False
    status: int = 0
    retry_after: float = 0.0
    is_unsent: bool = False

    def __str__(self) -> str:
        return self.reason

    def error(self, ref: PluginRef) -> ServerLost | HandshakeFailed:
        """Return the error that says so."""
        if not self.is_transient:
            return HandshakeFailed(ref, self.reason)
        error = ServerLost(ref, self.reason)
        error.retry_after = self.retry_after
        return error


def public(url: str) -> str:
    """Return what of a URL may be shown: neither credentials nor parameters."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def lost(reason: str) -> HttpError:
    """Return what says that the server is gone, but may come back."""
    return HttpError(reason, Severity.SERVER, is_transient=True)


def not_reached(error: Exception, url: str, proxy: Proxy | None = None) -> HttpError:
    """Return what it means that no connection could be made."""
    if proxy is not None and type(error).__name__ != "ProxyError":
        found = not_reached(error, proxy.url)
        host = urlsplit(url).hostname
        hint = f"this is the proxy of {proxy.source}: correct it, or add {host} to NO_PROXY"
        return replace(found, reason=f"{found.reason}; {hint}")
    place = public(url)
    if proxy is not None:
        return lost(f"{place} cannot be reached by the proxy of {proxy.source} ({error})")
    for cause in related(error):
        kind = type(cause).__name__
        if kind == "gaierror":
            host = urlsplit(url).hostname
            return lost(f"there is no host {host!r} ({place}); correct the URL, or go online")
        if kind == "SSLCertVerificationError":
            why = getattr(cause, "verify_message", "") or str(cause)
            reason = (
                f"the certificate of {place} is not trusted ({why}); name the file of its CA in "
                "[plugin.mcp_http] tls_ca_bundle"
            )
            return HttpError(reason, Severity.SERVER)
        if kind == "SSLError":
            return HttpError(f"{place} does not speak TLS; write http://?", Severity.SERVER)
        if isinstance(cause, ConnectionRefusedError):
            reason = f"nothing listens at {place} (connection refused); start the server there"
            return lost(f"{reason}, or correct the URL")
    if isinstance(error, TimeoutError) or type(error).__name__.endswith("Timeout"):
        return lost(f"{place} did not accept a connection in time")
    return lost(f"{place} cannot be reached ({in_words(error)})")


def broken(error: Exception, url: str) -> HttpError:
    """Return what it means that a connection ended before the answer."""
    place = public(url)
    hint = "; does it speak TLS? then write https://" if url.startswith("http://") else ""
    reason = f"{place} closed the connection before it had answered ({type(error).__name__}){hint}"
    return HttpError(reason, Severity.CONNECTION, is_transient=True)


def broken_off(url: str) -> HttpError:
    """Return what says that a stream ended before the answer, though the server is still there."""
    reason = f"{public(url)} ended its stream before it had answered; the call may have been made"
    return HttpError(reason, Severity.CONNECTION, is_transient=True)


def refused(status: int, url: str, *, has_secret: bool) -> HttpError:
    """Return what it means that a request was answered with an error, and no server says more."""
    try:
        shown = f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        shown = str(status)
    reason = _refusal(status, public(url), shown, has_secret=has_secret)
    return HttpError(reason, is_transient=is_later(status), status=status)


def _refusal(status: int, place: str, shown: str, *, has_secret: bool) -> str:
    if status in GATEWAY:
        return f"{place} cannot be reached behind its gateway ({shown})"
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return f"{place} failed ({shown}); its own log says why"
    if is_later(status):
        return f"{place} wants to be asked later ({shown})"
    if status == HTTPStatus.PROXY_AUTHENTICATION_REQUIRED:
        return f"the proxy on the way to {place} asks for credentials ({shown})"
    if status == HTTPStatus.UNAUTHORIZED and not has_secret:
        reason = f"{place} asks for credentials ({shown}); give them in [plugin.mcp_http]"
        return f"{reason} auth_secret_env, the environment variable that holds them"
    if status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
        does_not = "does not accept our credentials" if has_secret else "does not let us in"
        return f"{place} {does_not} ({shown})"
    if status in {HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED, HTTPStatus.GONE}:
        return f"there is no MCP server at {place} ({shown}); correct the URL's path"
    return f"{place} refused the request ({shown})"


def with_retry_after(error: HttpError, retry_after: str) -> HttpError:
    """Return `error` with what the header `Retry-After` says: seconds or a date."""
    try:
        seconds = float(int(retry_after))
    except (ValueError, OverflowError):
        try:
            seconds = (parsedate_to_datetime(retry_after) - datetime.now(UTC)).total_seconds()
        except (TypeError, ValueError, OverflowError):  # A date without a zone, or something else.
            return error
    return replace(error, retry_after=seconds)


def forgotten(url: str) -> HttpError:
    """Return what says that the server does not know our session any more."""
    return lost(f"{public(url)} does not know our session any more; it has been restarted")


def moved(there: str) -> HttpError:
    """Return what says that the server sends us to the URL `there`."""
    hint = "use that URL if it is the server that is meant"
    return HttpError(f"Redirect to {public(there)} not followed; {hint}")


def old_transport(url: str) -> HttpError:
    """Return what says that the server speaks what streamable HTTP has replaced."""
    reason = (
        f"{public(url)} speaks HTTP+SSE, the transport of 2024, which is not supported; have the "
        "server offer streamable HTTP, often at the path /mcp, and correct the URL"
    )
    return HttpError(reason)


def no_mcp(answer: str, url: str) -> HttpError:
    """Return what says that the answer is of the type `answer`, and so not an MCP server's."""
    kind = answer.partition(";")[0].strip() or "nothing"
    reason = f"{public(url)} answers with {kind} and not as an MCP server does; correct the URL"
    return HttpError(reason)
