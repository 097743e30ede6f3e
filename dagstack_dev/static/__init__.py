"""Looks at plugins without running any of their code: `check`, `graph`, `why`."""
