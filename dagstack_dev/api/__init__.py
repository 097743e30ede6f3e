"""Answers for a running server over a local socket, in a thread and an event loop of its own."""
