"""Keeps the live system: entries, instances, proxies, and the reloads that change them."""
