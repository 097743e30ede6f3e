"""Looks: what is on disk now, and what differs from before."""
