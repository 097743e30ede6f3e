"""How the hooks of a kind are called: one dispatcher for each dispatch class (ADR-2)."""
