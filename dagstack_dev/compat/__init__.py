"""The original package, PyPI `dagstack-plugin-system`: its registry and its imports."""
