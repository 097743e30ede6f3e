"""From the bytes that a server writes to JSON-RPC messages; the same for all transports.

Everything that can be made out as an answer becomes one: text with half an emoji, a batch, an
answer without an id or with another one, an error that is no object. A call would else wait for it
in vain.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from pydantic_core import from_json, to_json

LONGEST_MESSAGE: Final = 1 << 26
"""Bytes of a message at most, on any transport: one without end would take all memory."""

TOO_LONG: Final = f"it is longer than {LONGEST_MESSAGE >> 20} MiB"

HANDSHAKE_VERSIONS: Final = ("2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25")
"""The versions of MCP that begin with `initialize`, the newest last."""

MODERN_VERSION: Final = "2026-07-28"
"""The version without a handshake and without sessions: each request says all that it needs."""

METHOD_NOT_FOUND: Final = -32601
_INTERNAL_ERROR: Final = -32603

Owner = Callable[[object], int | None]
"""Returns for the id in an answer which request it answers; None where there is none."""


@dataclass(eq=False)
class ErrorAnswer(Exception):
    """A request was answered with an error of JSON-RPC, see there."""

    code: int
    message: str
    data: Any

    def __str__(self) -> str:
        return f"{self.message} (JSON-RPC error {self.code})"


class NoAnswer(Exception):
    """One request got no answer of a server; `str()` says why. The connection goes on."""


class Unreadable(NoAnswer):
    """An answer that is no JSON, or has no end."""

    def __str__(self) -> str:
        return f"the answer cannot be read: {self.args[0]}"


def messages_in(text: bytes, owner: Owner) -> list[dict[str, Any]]:
    """Return the messages in `text`: one or a batch of them, or none.

    An answer has an `id` of ours, and either a `result`, which may be anything, or an `error` with
    a `code`, a `message` and `data`.

    Args:
        text: what a server has written, as one line or one body.
        owner: which request an answer is for.

    Raises:
        Unreadable: it is no JSON.
    """
    said = _parsed(text)
    found = said if isinstance(said, list) else [said]
    return [message for each in found if (message := _message(each, owner)) is not None]


def as_json(message: Mapping[str, Any]) -> bytes:
    """Return a message as it is sent.

    Raises:
        PydanticSerializationError: something in it is no JSON.
    """
    return to_json(message, inf_nan_mode="null")


def is_answer(message: dict[str, Any]) -> bool:
    """Return whether a message of `messages_in` answers a request."""
    return "method" not in message


def number_of(given: object) -> int | None:
    """Return the number that an id means; some servers write `"7"` or `7.0` for 7."""
    if isinstance(given, str | float) and not isinstance(given, bool):
        try:
            return int(given)
        except (ValueError, OverflowError):
            return None
    return given if isinstance(given, int) and not isinstance(given, bool) else None


def _parsed(text: bytes) -> Any:
    try:
        return from_json(text.removeprefix(b"\xef\xbb\xbf"))
    except ValueError as error:
        why = str(error)
    try:
        # Half a surrogate pair becomes U+FFFD, as do bytes that are no UTF-8.
        whole = json.dumps(json.loads(text.decode("utf-8-sig", "replace")), ensure_ascii=False)
        return from_json(whole.encode("utf-16", "surrogatepass").decode("utf-16", "replace"))
    except (ValueError, RecursionError):
        raise Unreadable(why) from None


def _message(said: object, owner: Owner) -> dict[str, Any] | None:
    if not isinstance(said, dict):
        return None
    given = said.get("id")
    if isinstance(said.get("method"), str):
        message = {"method": said["method"]}
        if isinstance(said.get("params"), dict):
            message["params"] = said["params"]
        number = given if isinstance(given, str) else number_of(given)
        return message if number is None else message | {"id": number}
    if not {"result", "error"} & said.keys() or (number := owner(given)) is None:
        return None
    if said.get("error") is not None or "result" not in said:
        return {"id": number, "error": _error(said["error"])}
    return {"id": number, "result": said["result"]}


def _error(error: object) -> dict[str, Any]:
    """Return an error as JSON-RPC has it."""
    given = error if isinstance(error, dict) else {}
    message, code = given.get("message"), number_of(given.get("code"))
    if not isinstance(message, str) or code is None:
        message, code = json.dumps(error, ensure_ascii=False), code or _INTERNAL_ERROR
    return {"code": code, "message": message, "data": given.get("data")}
