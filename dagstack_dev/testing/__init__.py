"""Tests plugins: the contract suite, and fixtures for pytest."""
