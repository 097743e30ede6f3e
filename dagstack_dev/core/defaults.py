"""How long things may take where nothing else is said, in seconds."""

from __future__ import annotations

from typing import Final

DRAIN_SECONDS: Final = 5.0
"""How long calls in flight get before a teardown goes on without them."""

CALL_PATIENCE: Final = 30.0
"""How long a call waits for a plugin that is being reloaded."""
