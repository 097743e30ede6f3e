"""What stores take: bytes, and nothing that only looks like them."""

from __future__ import annotations


def as_bytes(method: str, payload: object) -> bytes:
    """`payload`, as bytes that nobody changes any more.

    Raises:
        TypeError: it is something else. `method` is what was called.
    """
    if isinstance(payload, bytes | bytearray | memoryview):
        return bytes(payload)
    raise TypeError(
        f"{method} takes bytes, not {type(payload).__name__}; the plugin decides how to write its "
        f"values: {method}(key, json.dumps(value).encode())"
    )
