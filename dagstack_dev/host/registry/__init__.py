"""The registry that an app holds."""
