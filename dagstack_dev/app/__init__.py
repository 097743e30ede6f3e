"""Wires: the registry with its runtimes and the disk, the dev server and its loop."""
