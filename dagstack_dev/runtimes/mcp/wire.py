"""From the bytes that a server writes to messages that the SDK can read; the same for all pipes.

The SDK drops what is not quite JSON-RPC, and whoever waits for it waits in vain. Here everything
that can be told to be an answer becomes one: text with half an emoji, a batch, an answer without
an id or with another one, an error that is no object. What cannot be read becomes an error.

What a server says in an error is marked, so that it is not taken for what the SDK says itself,
which uses codes of its own for a connection that is closed and for a time that is over.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from pydantic_core import from_json

if TYPE_CHECKING:
    from collections.abc import Mapping

LONGEST_MESSAGE: Final = 1 << 26
"""Bytes of a message at most, on any transport: one without end would take all memory."""

PARSE_ERROR: Final = -32700
"""The code for an answer that cannot be read."""

_INTERNAL_ERROR: Final = -32603

_SAID: Final = "dagstack-dev:said"
"""Marks the data of an error as a server's own; its value is the data, where that is no object."""

_RESULT: Final = "dagstack-dev:result"
"""Under which a result that is no object goes through the SDK, as MCP has nothing but objects."""

TOO_LONG: Final = f"it is longer than {LONGEST_MESSAGE >> 20} MiB"

Owner = Callable[[object], int | str | None]
"""Tells for the id in an answer which request it answers; None where there is none to be found."""


class Unreadable(ValueError):
    """Bytes that are no JSON; `str()` says why."""


def messages_in(text: bytes, owner: Owner) -> list[dict[str, Any]]:
    """The messages in `text`: one or a batch of them, or none.

    Args:
        text: what a server has written, as one line or one body.
        owner: whose an answer is.

    Raises:
        Unreadable: it is no JSON.
    """
    said = _parsed(text)
    found = said if isinstance(said, list) else [said]
    return [message for each in found if (message := _message(each, owner)) is not None]


def is_answer(message: Mapping[str, Any]) -> bool:
    """Whether a message of `messages_in` answers a request."""
    return "method" not in message


def unreadable_answer(number: int | str, why: str) -> dict[str, Any]:
    """What the request `number` is answered with in place of what cannot be read."""
    error = {"code": PARSE_ERROR, "message": f"the answer cannot be read: {why}"}
    return {"jsonrpc": "2.0", "id": number, "error": error}


def number_of(given: object) -> int | None:
    """The number that an id means; some servers write `"7"` or `7.0` for 7."""
    if isinstance(given, str | float) and not isinstance(given, bool):
        try:
            return int(given)
        except (ValueError, OverflowError):
            return None
    return given if isinstance(given, int) and not isinstance(given, bool) else None


def plain_result(result: Mapping[str, Any]) -> Any:
    """A result as the server gave it, which need not be an object."""
    return result[_RESULT] if result.keys() == {_RESULT} else result


def said_by_server(data: object) -> bool:
    """Whether the error with these data is one that the server has answered with."""
    return isinstance(data, dict) and _SAID in data


def plain_data(data: object) -> object:
    """The data of an error as the server gave them."""
    if not isinstance(data, dict) or _SAID not in data:
        return data
    return {key: value for key, value in data.items() if key != _SAID} or data[_SAID]


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
    if isinstance(said.get("method"), str):
        message = {"jsonrpc": "2.0", "method": said["method"]}
        if isinstance(said.get("params"), dict):
            message["params"] = said["params"]
        given = said.get("id")
        number = given if isinstance(given, str) else number_of(given)
        return message if number is None else message | {"id": number}
    if not {"result", "error"} & said.keys() or (number := owner(said.get("id"))) is None:
        return None
    answer = {"jsonrpc": "2.0", "id": number}
    if said.get("error") is not None or "result" not in said:
        return answer | {"error": _error(said["error"])}
    result = said["result"]
    return answer | {"result": result if isinstance(result, dict) else {_RESULT: result}}


def _error(error: object) -> dict[str, Any]:
    """An error as JSON-RPC has it, marked as the server's."""
    given = error if isinstance(error, dict) else {}
    message, code, data = given.get("message"), number_of(given.get("code")), given.get("data")
    if not isinstance(message, str) or code is None:
        message, code = json.dumps(error, ensure_ascii=False), code or _INTERNAL_ERROR
    marked = {**data, _SAID: None} if isinstance(data, dict) else {_SAID: data}
    return {"code": code, "message": message, "data": marked}
