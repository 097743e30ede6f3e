"""Kinds of plugins and their hooks: what they are, and the forms in which they are declared."""
