"""Plugins in this process: compiled from the bytes that were read, imported under stable names."""
