"""The plugins of a registry: what is known of each, and the one place where that changes."""
