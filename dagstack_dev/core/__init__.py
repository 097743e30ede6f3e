"""Decides: immutable values and pure functions. No I/O, no clock, no logging, no event loop."""
