"""Turns parsed blocks into HTML."""

from .html import render

__all__ = ["render"]
