"""Code that plugins share: who imports whom, which of it runs, and what changes of it reach."""
