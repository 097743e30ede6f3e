"""From what comes in to reloads: read `loop` first."""
