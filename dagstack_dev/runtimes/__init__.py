"""Runs one plugin: imports its code in isolation, or (later) talks to its process."""
